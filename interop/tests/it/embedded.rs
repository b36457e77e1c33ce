//! The daemon's embedded relay, as clients meet it that nobody here wrote.

use interop::daemon::Daemon;
use interop::product::Store;
use testkit::relay::{RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::{World, WorldSpec};

/// A daemon that has mirrored a world, and serves it.
pub(crate) struct Embedded {
    pub(crate) store: Store,
    pub(crate) daemon: Daemon,
    /// Where the world is from.
    pub(crate) world: World,
    /// Where the daemon serves it.
    pub(crate) url: String,
    _bootstrap: RunningRelay,
}

impl Embedded {
    pub(crate) async fn start() -> Self {
        let bootstrap = ScriptedRelay::start(RelayOptions::default()).await.expect("a free port");
        let spec = WorldSpec { repos: 30, ..WorldSpec::default() };
        let world = World::generate(spec, &[bootstrap.url().clone()], "git.example.com");
        world.events().into_iter().for_each(|event| _ = bootstrap.publish(event));
        let store = Store::new();
        let quick = "sync.batch_window = \"200ms\"\nsync.settle = \"300ms\"\n";
        let mut daemon = Daemon::start(&store, world.domain(), &[bootstrap.url().as_str()], quick);
        let url = daemon.own_relay();
        daemon.wait_connected(bootstrap.url().as_str());
        let expected = world.accepted().len();
        daemon.wait_status(|status| status["totals"]["store_events"] == expected);
        Self { store, daemon, world, url, _bootstrap: bootstrap }
    }
}
