//! The built-in strategy `negentropy` as a shared library, from the same code. It goes by another name, so that both can be there.

use std::sync::Arc;

use strategy_export::{Adapter, Exported};
use strategy_negentropy::NegentropyStrategy;
use sync_core::strategy::{ConfigError, StrategyConfig, SyncStrategy};

struct Negentropy;

impl Exported for Negentropy {
    const NAME: &'static str = "negentropy-plugin";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const COMPARES_SETS: bool = true;
    const PROBES_ALONE: bool = true;

    fn from_config(config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, ConfigError> {
        Ok(Arc::new(NegentropyStrategy::from_config(config)?))
    }
}

strategy_abi::export_strategy!(Adapter<Negentropy>);
