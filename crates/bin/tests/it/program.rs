//! Runs the program in a directory of its own, with an environment that holds nothing else.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A place to run in.
pub(crate) struct Place {
    dir: TempDir,
    vars: Vec<(String, String)>,
    /// What a shell says before it runs the program.
    before: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), vars: Vec::new(), before: None }
    }

    /// With `./grasp-sync.toml`.
    pub(crate) fn with_config(text: &str) -> Self {
        Self::new().file("grasp-sync.toml", text)
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("writable");
        std::fs::write(path, text).expect("writable");
        self
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A shell says this first, such as `ulimit -n 100`.
    pub(crate) fn after(mut self, shell: &str) -> Self {
        self.before = Some(shell.to_owned());
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        const PROGRAM: &str = env!("CARGO_BIN_EXE_grasp-sync");
        let mut command = match &self.before {
            None => Command::new(PROGRAM),
            Some(before) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{before} && exec \"$0\" \"$@\""), PROGRAM]);
                shell
            }
        };
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path()).envs(self.vars.iter().cloned());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let Output { status, stdout, stderr } = self.command(args).output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// `config show --json`, which must succeed.
    pub(crate) fn shown(&self, flags: &[&str]) -> serde_json::Value {
        let ended = self.run(&[&["config", "show", "--json"], flags].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).expect("one JSON document")
    }

    /// What `config check` says, which must refuse the configuration.
    pub(crate) fn refused(&self) -> String {
        let ended = self.run(&["config", "check"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        ended.stderr
    }
}
