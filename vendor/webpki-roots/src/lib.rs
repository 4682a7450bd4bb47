//! Mozilla's root certificates under the version number that pg_walstream 0.10.0 asks for, which the
//! registry does not carry. The same roots, parsed from `webpki-root-certs` at first use. Delete this
//! folder and its `[patch.crates-io]` line when webpki-roots 1.0.11 appears.

use rustls_pki_types::TrustAnchor;
use std::sync::LazyLock;

/// The roots, as rustls takes them.
pub static TLS_SERVER_ROOTS: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| Some(webpki::anchor_from_trusted_cert(der).ok()?.to_owned()))
        .collect()
});
