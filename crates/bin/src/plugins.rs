//! Strategies from shared libraries: which files are loaded, and what became of each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use strategy_host::{Limits, LoadError, Plugin, PluginInfo};
use sync_core::manager::{PluginReport, PluginState};

use crate::cli;
use crate::config::{PluginFile, Plugins};
use crate::output::say;

/// Threads of one plugin: enough for a few relays at once, and few enough where many plugins are loaded.
const THREADS: usize = 4;

/// A file that is no strategy to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The file.
    pub(crate) file: PathBuf,
    /// What it says of itself, where it came so far.
    pub(crate) info: Option<PluginInfo>,
    /// Why.
    pub(crate) reason: String,
}

/// Loads what the configuration names: single files first, then those of the directory by name. A plugin by a name of `taken`,
/// or of one before it, is none.
pub(crate) fn load(config: &Plugins, taken: &[&str]) -> (Vec<Arc<Plugin>>, Vec<Failed>) {
    let limits = Limits {
        call: config.call_timeout,
        threads: THREADS,
        wait: |work| engine::blocking(work),
        trial: Some(|file| {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(cli::LOAD_PLUGIN).arg(file);
            Ok(command)
        }),
    };
    let mut loaded: Vec<Arc<Plugin>> = Vec::new();
    let (files, mut failed) = files(config);
    for PluginFile { path, sha256 } in files {
        let plugin = match Plugin::load(&path, sha256.as_deref(), limits) {
            Ok(plugin) => plugin,
            Err(error @ LoadError::Stuck(_)) => {
                say(format_args!("error: the plugin {} holds up this process for good: {error}", path.display()));
                std::process::abort()
            }
            Err(error) => {
                failed.push(Failed { file: path, info: None, reason: error.to_string() });
                continue;
            }
        };
        let info = plugin.info();
        let before = loaded.iter().find(|before| before.info().name == info.name);
        let clash = match before {
            // Named twice.
            Some(before) if before.info().file == info.file => continue,
            Some(before) => Some(before.info().file.display().to_string()),
            None => taken.contains(&&*info.name).then(|| "built in".to_owned()),
        };
        match clash {
            Some(other) => {
                let reason = format!("there is a strategy `{}` already: {other}", info.name);
                failed.push(Failed { file: path, info: Some(info.clone()), reason });
            }
            None => loaded.push(plugin),
        }
    }
    (loaded, failed)
}

/// The files to load, in order, and the directory where it can't be read.
fn files(config: &Plugins) -> (Vec<PluginFile>, Vec<Failed>) {
    let mut files = config.load.clone();
    let Some(dir) = &config.dir else { return (files, Vec::new()) };
    match libraries(dir) {
        Ok(found) => {
            // What is named by itself, perhaps with its hash, is loaded as that, or not at all.
            let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let named: Vec<PathBuf> = files.iter().map(|file| real(&file.path)).collect();
            let others = found.into_iter().filter(|path| !named.contains(&real(path)));
            files.extend(others.map(|path| PluginFile { path, sha256: None }));
            (files, Vec::new())
        }
        Err(error) => {
            let reason = format!("the directory can't be read: {error}");
            (files, vec![Failed { file: dir.clone(), info: None, reason }])
        }
    }
}

/// The libraries of a directory, by name.
fn libraries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| matches!(extension, "so" | "dylib" | "dll")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What is to be told of a plugin that was loaded.
pub(crate) fn report(plugin: &Plugin) -> PluginReport {
    let barred = plugin.barred();
    let state = if barred.is_some() { PluginState::Barred } else { PluginState::Loaded };
    told(plugin.info(), state, barred.map(|reason| reason.to_string()).unwrap_or_default())
}

/// What is to be told of a file that is no strategy to us.
pub(crate) fn failure(failed: &Failed) -> PluginReport {
    let (state, reason) = (PluginState::Failed, failed.reason.clone());
    match &failed.info {
        Some(info) => told(info, state, reason),
        None => {
            let file = failed.file.display().to_string();
            PluginReport { name: None, version: None, file, abi: None, sha256: None, state, reason }
        }
    }
}

fn told(info: &PluginInfo, state: PluginState, reason: String) -> PluginReport {
    PluginReport {
        name: Some(info.name.clone()),
        version: Some(info.version.clone()),
        file: info.file.display().to_string(),
        abi: Some(info.abi.clone()),
        sha256: Some(info.sha256.clone()),
        state,
        reason,
    }
}
