//! What DataFusion panics over is an error like others: a row, a group or a model is to blame, and not the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("DataFusion panicked: {}", text.unwrap_or("no reason given"))
    })
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(caught(|| 1), Ok(1));
        let empty: Vec<i32> = Vec::new();
        let error = caught(|| empty[7]).expect_err("it panics");
        assert_eq!(error, "DataFusion panicked: index out of bounds: the len is 0 but the index is 7");
    }
}
