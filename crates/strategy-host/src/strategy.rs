//! A plugin as a strategy: one section of the configuration, read by the plugin itself.

use std::sync::Arc;

use strategy_abi::ffi::{self, Bytes};
use sync_core::model::SyncMethod;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    ConfigError, RelayProfile, SessionHints, SessionRequest, StrategyConfig, StrategyDescriptor, Suitability,
    SyncSession, SyncStrategy,
};

use crate::give::{self, Config, GivenFilter};
use crate::library::Plugin;
use crate::pool::CallError;
use crate::session::PluginSession;
use crate::table::{Failed, text};

/// Most sessions at once on one connection.
const MAX_CONCURRENCY: u32 = 64;
/// Most ids in one request.
const MAX_CHUNK: u32 = 10_000;
/// Longest wait for an answer, milliseconds.
const MAX_TIMEOUT_MS: u64 = 3_600_000;

/// Why a plugin can't be made a strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its section of the configuration is wrong, as the plugin says.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It can't be asked, or answers what can't be.
    #[error("{0}")]
    Failed(String),
}

struct PluginStrategy {
    plugin: Arc<Plugin>,
    descriptor: StrategyDescriptor,
    config: Arc<Config>,
    hints: SessionHints,
}

impl Plugin {
    /// The plugin as a strategy, configured as its section says: the plugin reads that itself.
    ///
    /// # Errors
    /// What the plugin says is wrong with it; or why the plugin can't be asked.
    pub fn strategy(self: &Arc<Self>, config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, Unusable> {
        let wrong = |key, value, allowed| ConfigError { strategy: self.info.name.clone(), key, value, allowed };
        if !config.is_object() && !config.is_null() {
            return Err(wrong(String::new(), config.to_string(), "must be a table".to_owned()).into());
        }
        let given = Arc::new(Config::new(config));
        let (table, asked) = (self.table, Arc::clone(&given));
        let checked = self.pool.call("check_config", move |_| check(table, &asked), None);
        let hints = match checked {
            Ok(Checked::Fits(hints)) => hints,
            Ok(Checked::Wrong { key, value, allowed }) => return Err(wrong(key, value, allowed).into()),
            Ok(Checked::Failed(text)) => {
                return Err(Unusable::Failed(format!("can't check its configuration: {text}")));
            }
            Err(CallError::Barred(reason)) => return Err(Unusable::Failed(reason.to_string())),
            Err(CallError::Failed(reason)) => {
                return Err(Unusable::Failed(format!("can't be asked to check its configuration: {reason}")));
            }
        };
        let flags = self.table.flags();
        let descriptor = StrategyDescriptor {
            name: SyncMethod::new(&*self.info.name),
            version: self.info.version.clone(),
            compares_sets: flags & ffi::COMPARES_SETS != 0,
            probes_alone: flags & ffi::PROBES_ALONE != 0,
        };
        Ok(Arc::new(PluginStrategy { plugin: Arc::clone(self), descriptor, config: given, hints }))
    }
}

enum Checked {
    Fits(SessionHints),
    Wrong { key: String, value: String, allowed: String },
    Failed(String),
}

/// On a thread of the plugin: has it check its section.
#[allow(unsafe_code)]
fn check(table: crate::table::Table, config: &Config) -> Checked {
    let mut checked = ffi::Checked {
        struct_size: size_of::<ffi::Checked>() as u32,
        concurrency: 0,
        fetch_chunk: 0,
        reserved: 0,
        answer_timeout_ms: 0,
        key: Bytes::EMPTY,
        value: Bytes::EMPTY,
        allowed: Bytes::EMPTY,
    };
    let result = config.lend(|config| table.check_config(config, &mut checked));
    match result {
        Ok(()) => {
            let ffi::Checked { concurrency, fetch_chunk, answer_timeout_ms, .. } = checked;
            for (what, value, most) in [
                ("concurrency", u64::from(concurrency), u64::from(MAX_CONCURRENCY)),
                ("fetch_chunk", u64::from(fetch_chunk), u64::from(MAX_CHUNK)),
                ("answer_timeout_ms", answer_timeout_ms, MAX_TIMEOUT_MS),
            ] {
                if value == 0 || value > most {
                    return Checked::Failed(format!("it asks for a {what} of {value}; 1 to {most} are allowed"));
                }
            }
            Checked::Fits(SessionHints {
                concurrency: concurrency as usize,
                fetch_chunk: fetch_chunk as usize,
                answer_timeout_ms,
            })
        }
        Err(Failed { text, panicked: true }) => Checked::Failed(text),
        Err(Failed { text: reason, .. }) => {
            // SAFETY: the plugin promised that they are there until it is called again on this thread.
            let [key, value, allowed] = [checked.key, checked.value, checked.allowed].map(|told| unsafe { text(told) });
            if key.is_empty() && allowed.is_empty() {
                return Checked::Failed(reason);
            }
            Checked::Wrong { key, value, allowed }
        }
    }
}

impl SyncStrategy for PluginStrategy {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.descriptor
    }

    fn hints(&self) -> SessionHints {
        self.hints
    }

    fn suits(&self, profile: &RelayProfile, filter: &Filter) -> Suitability {
        let (table, config) = (self.plugin.table, Arc::clone(&self.config));
        let (profile, filter) = (profile.clone(), GivenFilter::new(filter));
        let asked = move |_: &crate::pool::Ask| {
            config.lend(|config| table.suits(config, &give::profile(&profile), &filter.raw()))
        };
        match self.plugin.pool.call("suits", asked, None) {
            Ok(Ok(None)) => Suitability::Suits,
            Ok(Ok(Some(reason))) => Suitability::No(reason),
            Ok(Err(Failed { text, .. })) => Suitability::No(format!("the plugin can't say whether it suits: {text}")),
            Err(CallError::Barred(reason)) => Suitability::No(format!("the plugin is barred: {reason}")),
            Err(CallError::Failed(reason)) => {
                Suitability::No(format!("the plugin can't be asked whether it suits: {reason}"))
            }
        }
    }

    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession> {
        let (plugin, config) = (Arc::clone(&self.plugin), Arc::clone(&self.config));
        Box::new(PluginSession::new(plugin, config, request, self.hints.answer_timeout_ms))
    }
}
