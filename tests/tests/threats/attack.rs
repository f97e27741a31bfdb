//! What every attack has: a server, an honest client that calls it once a second all along, time that is paused and flies
//! when nobody is at work, and a count of the memory that is held meanwhile.

use std::time::Duration;

use helve::{Remote, State};
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// No attack takes longer, in paused time.
const PATIENCE: Duration = Duration::from_secs(7_200);

/// A server under attack.
pub(crate) struct Scene {
    pub(crate) harness: Harness,
    pub(crate) tracker: Tracker,
    honest: LabHandle,
}

impl Scene {
    /// Host and port of the server.
    pub(crate) fn address(&self) -> &str {
        let url = self.harness.url();
        url.split_once("://").map_or(url, |(_, address)| address)
    }

    /// The honest client is served.
    pub(crate) async fn calm(&self) {
        assert_eq!(limited(self.honest.echo(1)).await, Ok(1));
    }

    /// Lets time pass.
    pub(crate) async fn wait(&self, time: Duration) {
        sleep(time).await;
    }
}

/// How a server is set up, and how to reach it.
pub(crate) struct Stage {
    url: &'static str,
    setup: Box<dyn FnOnce(Setup) -> Setup>,
    connect: Box<dyn FnOnce(helve::Connect<LabHandle>) -> helve::Connect<LabHandle>>,
}

impl Stage {
    /// A plain one.
    pub(crate) fn plain() -> Stage {
        Stage::with(|setup| setup)
    }

    /// A plain one that is set up like this.
    pub(crate) fn with(setup: impl FnOnce(Setup) -> Setup + 'static) -> Stage {
        Stage {
            url: "ws://127.0.0.1:0",
            setup: Box::new(setup),
            connect: Box::new(|connect| connect),
        }
    }

    /// One with TLS.
    pub(crate) fn tls(
        authority: &helve_tests::certs::Authority,
        setup: impl FnOnce(Setup) -> Setup + 'static,
    ) -> Stage {
        let (tls, roots) = (authority.localhost().tls(), authority.pem());
        Stage {
            url: "wss://127.0.0.1:0",
            setup: Box::new(move |given| setup(given).with(|rooted| rooted.tls(tls))),
            connect: Box::new(move |connect| connect.tls_roots(roots)),
        }
    }
}

/// Runs an attack. While it does, no more than `most` bytes are held beyond what the server and its honest client need; the
/// attacker, who is on the same thread, is counted too.
#[track_caller]
pub(crate) fn attack(stage: Stage, most: u64, work: impl AsyncFnOnce(&Scene)) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (scene, stop, beside) = runtime.block_on(async {
        let tracker = Tracker::new();
        let root = LabHandle::new(MemLab::new(&tracker));
        let setup = (stage.setup)(Setup::new(&tracker, move |_| root.clone()));
        let harness = setup.bind(stage.url).await;
        let honest: LabHandle = harness
            .connect_with(stage.connect)
            .await
            .expect("an honest client is taken");
        let (stop, stopped) = watch::channel(false);
        let beside = tokio::spawn(call_on(honest.clone(), stopped));
        let scene = Scene {
            harness,
            tracker,
            honest,
        };
        scene.calm().await;
        (scene, stop, beside)
    });
    let held = allocation_counter::measure(|| {
        runtime.block_on(async {
            timeout(PATIENCE, work(&scene)).await.expect("it hangs");
        });
    });
    println!("{} bytes held at most", held.bytes_max);
    assert!(
        held.bytes_max <= most,
        "{} bytes were held at once, {most} may be",
        held.bytes_max
    );
    runtime.block_on(end(scene, stop, beside));
}

/// Calls once a second; how often it did.
async fn call_on(honest: LabHandle, mut stopped: watch::Receiver<bool>) -> u64 {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = 0;
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return calls,
        }
        let before = Instant::now();
        assert_eq!(limited(honest.echo(calls)).await, Ok(calls));
        assert!(
            before.elapsed() < Duration::from_secs(1),
            "the honest client waits"
        );
        calls += 1;
    }
}

async fn end(scene: Scene, stop: watch::Sender<bool>, beside: JoinHandle<u64>) {
    scene.calm().await;
    stop.send_replace(true);
    let calls = limited(beside)
        .await
        .expect("the honest client was served all along");
    assert!(calls > 0);
    let Scene {
        harness, honest, ..
    } = scene;
    let connection = honest.connection().expect("remote");
    assert_eq!(connection.state(), State::Connected);
    drop((connection, honest));
    harness.finish().await;
}
