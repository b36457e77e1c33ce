//! The packages of the workspace and what they depend on, from `cargo metadata`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::run::{Cargo, Failure};

#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    /// The folder, where it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

/// What a dependency is for, where it isn't for the code itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Dev,
    Build,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, Failure> {
        let text = Cargo::new(["metadata", "--no-deps", "--format-version", "1"]).output()?;
        Self::parse(&text)
    }

    pub(super) fn parse(metadata: &str) -> Result<Self, Failure> {
        serde_json::from_str(metadata).map_err(|error| Failure(format!("cargo metadata: {error}")))
    }

    /// The package's manifest, relative to the root.
    pub(super) fn manifest(&self, package: &Package) -> String {
        let path = package.manifest_path.strip_prefix(&self.workspace_root).unwrap_or(&package.manifest_path);
        path.to_string_lossy().replace('\\', "/")
    }
}
