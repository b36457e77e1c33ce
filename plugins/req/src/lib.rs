//! The built-in strategy `req` as a shared library, from the same code. It goes by another name, so that both can be there.

use std::sync::Arc;

use strategy_export::{Adapter, Exported};
use strategy_req::ReqStrategy;
use sync_core::strategy::{ConfigError, StrategyConfig, SyncStrategy};

struct Req;

impl Exported for Req {
    const NAME: &'static str = "req-plugin";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const COMPARES_SETS: bool = false;
    const PROBES_ALONE: bool = false;

    fn from_config(config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, ConfigError> {
        Ok(Arc::new(ReqStrategy::from_config(config)?))
    }
}

strategy_abi::export_strategy!(Adapter<Req>);
