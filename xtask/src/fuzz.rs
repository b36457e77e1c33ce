//! `cargo xtask fuzz`: makes up what arrives from outside, for a while each. Needs a nightly toolchain and cargo-fuzz
//! (`cargo install cargo-fuzz`). What is found goes to `fuzz/artifacts`; corpora grow in `fuzz/target`, not in the
//! repository.

use std::process::Command;

use crate::run::{Failure, root};

/// What there is to fuzz.
pub(crate) const TARGETS: [&str; 5] = ["frames", "filters", "negentropy", "nip11", "config"];

/// Runs a target, or each of them, for `seconds`.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> Result<(), Failure> {
    let folder = root().join("fuzz");
    for name in TARGETS.iter().filter(|name| target.is_none_or(|target| target == **name)) {
        let grown = folder.join("target").join("corpus").join(name);
        std::fs::create_dir_all(&grown).map_err(|error| Failure(format!("{}: {error}", grown.display())))?;
        println!("fuzzing {name} for {seconds} s");
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", "--target-dir", "target", name]);
        // The first folder is the one that grows.
        command.arg(&grown).arg(folder.join("corpus").join(name));
        command.args([
            "--",
            &format!("-max_total_time={seconds}"),
            "-max_len=65536",
            "-timeout=20",
            "-rss_limit_mb=4096",
        ]);
        command.current_dir(&folder);
        crate::run::run(&mut command)?;
    }
    Ok(())
}
