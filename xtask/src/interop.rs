//! `cargo xtask interop`: builds the product, then runs the tests of `interop/`, which is a workspace of its own: the
//! relays there are old, heavy or unmaintained, and must not reach the product's lock file.

use crate::run::{Cargo, Failure, release_binary, root};

pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let binary = release_binary()?;
    let manifest = root().join("interop").join("Cargo.toml");
    Cargo::new(["test", "--locked", "--manifest-path"])
        .args([manifest.as_os_str()])
        .args(["--"])
        .args(args)
        .env("GRASP_SYNC_BIN", binary)
        .env("CARGO_TARGET_DIR", root().join("interop").join("target"))
        .run()
}
