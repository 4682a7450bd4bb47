//! Chance that can be made smaller: the numbers it has given are kept, and may be given again with some left out.

use super::life::Dice;

pub struct Choices {
    made: Vec<u64>,
    at: usize,
    /// What gives new numbers; without it they are zeros, which are the simplest choice everywhere.
    dice: Option<Dice>,
}

impl Choices {
    pub fn of(dice: Dice) -> Choices {
        Choices { made: Vec::new(), at: 0, dice: Some(dice) }
    }

    /// These again, and then zeros.
    pub fn again(made: &[u64]) -> Choices {
        Choices { made: made.to_vec(), at: 0, dice: None }
    }

    pub fn made(self) -> Vec<u64> {
        self.made
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        if self.at == self.made.len() {
            let number = self.dice.as_mut().map_or(0, |dice| dice.below(bound));
            self.made.push(number);
        }
        self.at += 1;
        self.made[self.at - 1] % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == bound - 1
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    pub fn word(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len() as u64) as usize]
    }
}
