//! `gesso serve`: until SIGINT or SIGTERM, or until the device is lost, then drain.
//!
//! Shutdown order: readiness turns false and nothing new is taken in; HTTP requests under way finish, with the tasks that they
//! wait for, and running tasks, up to `drain_seconds`; the task store is backed up; plugins stop; the device thread ends; the task store closes last. What is not finished by
//! then runs again after the restart.

use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::backups;
use crate::environment;
use crate::http::calls::Replays;
use crate::http::connections;
use crate::http::router::router;
use crate::loaded_models;
use crate::made_up_device::MadeUpDevice;
use crate::notices;
use crate::settings::cli::Serve;
use crate::startup::{self, Server, StartupError};
use crate::telemetry;
use crate::traces::Traces;
use crate::upkeep;
use crate::worker;

/// Time to write down that running tasks wait again.
const HAND_BACK: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &Serve) -> anyhow::Result<()> {
    let settings = environment::settings(arguments)?;
    // Where the program is now: it may be replaced by a newer one, which is what a restart takes in then.
    let mut again = environment::this_command().context("the path of this binary is unknown")?;
    if arguments.print_settings {
        telemetry::announce(settings.print().trim_end());
        return Ok(());
    }
    let traces = settings.otlp_endpoint.as_deref().map(Traces::open).transpose()?;
    let (traces, tracer) = traces.unzip();
    telemetry::install_logs(&settings.log_format, &environment::log_filter(), tracer);
    for name in environment::unknown_variables() {
        tracing::warn!(%name, "no setting reads this environment variable");
    }
    for (plugin, grant) in &settings.grants {
        let (folders, hosts, models) = (&grant.folders, &grant.hosts, &grant.models);
        tracing::info!(%plugin, ?folders, ?hosts, ?models, "granted by the settings");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    let made_up = arguments.made_up_pictures.then(|| MadeUpDevice::lost_after(arguments.made_up_calls));
    let result = runtime.block_on(serve(settings, made_up));
    // Blocking work that is still under way has no one left to hear of it.
    runtime.shutdown_timeout(Duration::from_secs(5));
    if let Some(traces) = traces {
        traces.close();
    }
    match result? {
        Ended::Stopped => Ok(()),
        Ended::WithoutDevice => {
            anyhow::bail!("the device thread has ended; what it was drawing runs again after the next start")
        }
        // In the place of this process, so that whoever watches it sees one that goes on.
        Ended::Restarts => {
            let error = again.exec();
            Err(anyhow::Error::new(error).context("the server could not begin anew"))
        }
    }
}

/// Waits for the end of a task that may have been seen to end already.
async fn end_of<T>(task: &mut tokio::task::JoinHandle<T>) {
    if !task.is_finished() {
        drop(task.await);
    }
}

/// Does nothing where no service manager asked for it.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Why the server is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// The device thread ended first. Whoever watches over the process shall start another.
    WithoutDevice,
    Restarts,
}

async fn serve(
    settings: crate::settings::Settings,
    made_up: Option<MadeUpDevice>,
) -> Result<Ended, StartupError> {
    let drain_time = Duration::from_secs(settings.drain_seconds);
    let Server { app, engine, listener, tls, drain, stop } = startup::build(settings, made_up).await?;
    let address = listener.local_addr().context("the listening address cannot be read")?;
    match (app.is_open(), address.ip().is_loopback()) {
        (true, true) => tracing::info!(
            "nobody has an account: whoever uses this machine may draw and read results; `gesso user add` ends that"
        ),
        (true, false) => {
            tracing::warn!(%address, "access is open: whoever reaches this port may draw and read results")
        }
        (false, _) if app.accounts.is_empty() => tracing::info!(
            "every request needs credentials, and only the user admin has them: the password is in {}",
            app.settings.data.join("admin-key").display()
        ),
        (false, _) => {}
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;

    // Before anything can be loaded.
    let loads = app.engine.loads();
    let routes = router(app.clone());
    // Tokio workers: leasing and waiting; the work itself is on the device thread and in the pools.
    let mut worker = tokio::spawn(worker::run(app.clone(), Replays::new(routes.clone())));
    // Tokio workers too: clocks, and waiting for others.
    let mut beside = [
        tokio::spawn(upkeep::run(app.clone())),
        tokio::spawn(backups::run(app.clone())),
        tokio::spawn(notices::run(app.clone())),
        tokio::spawn(loaded_models::run(app.clone(), loads)),
    ];
    let quotas = tokio::spawn(app.quotas.clone().follow(app.tasks.clone()));
    let certificate = tls.clone().map(|tls| tokio::spawn(tls.follow()));
    let http = connections::serve(listener, tls, routes, app.draining.clone());
    let mut http = tokio::spawn(http);
    // The blocking pool: it reads the folder and the heads of files. Who starts a server with a wrong folder hears of it from
    // the log and not from the first request; nobody waits for it.
    let catalogue = app.catalogue.clone();
    drop(tokio::task::spawn_blocking(move || {
        if let Some(shortage) = catalogue.shortage(None) {
            tracing::warn!("models: {shortage}");
        }
    }));
    tracing::info!(
        device = %app.engine.stats().device, models = %app.settings.models.display(),
        data = %app.settings.data.display(), plugins = app.plugins.list().len(), "ready"
    );
    telemetry::announce(&format!("listening on {}://{address}", app.scheme()));
    tell_systemd(NotifyState::Ready);

    let mut ended = Ended::Stopped;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        () = app.restart.notified() => {
            tracing::info!("a restart was asked for: draining");
            ended = Ended::Restarts;
        }
        () = app.engine.ended() => {
            tracing::error!("the device thread has ended: draining");
            ended = Ended::WithoutDevice;
        }
    }
    tell_systemd(NotifyState::Stopping);
    drain.send_replace(true);
    let drained = async {
        let (http, worker) = tokio::join!(&mut http, &mut worker);
        match http {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the HTTP server failed"),
            Err(error) => tracing::error!(%error, "the HTTP server panicked"),
        }
        if let Err(error) = worker {
            tracing::error!(%error, "the worker panicked");
        }
    };
    let in_time = tokio::select! {
        () = drained => true,
        () = tokio::time::sleep(drain_time) => false,
        // Nothing of what is waited for would be drawn any more.
        () = app.engine.ended(), if ended != Ended::WithoutDevice => false,
        _ = terminate.recv() => {
            ended = Ended::Stopped;
            false
        }
        _ = interrupt.recv() => {
            ended = Ended::Stopped;
            false
        }
    };
    if in_time {
        tracing::info!("drained");
    } else {
        tracing::warn!(
            running = app.running.count(),
            "not waiting any longer; running tasks run again after the restart"
        );
        stop.send_replace(true);
        // What was handed back is told to those who wait for it.
        let last = async { tokio::join!(end_of(&mut worker), end_of(&mut http)) };
        if tokio::time::timeout(HAND_BACK, last).await.is_err() {
            tracing::warn!(
                "not all tasks could be handed back or told of; their leases end with this process"
            );
        }
    }
    // They end by themselves when the server drains; what waits for somebody else's server is not waited for.
    let beside_end = tokio::time::timeout(HAND_BACK, futures::future::join_all(beside.iter_mut()));
    // What ran has ended, or waits again.
    let last_backup = tokio::time::timeout(HAND_BACK, app.backups.make());
    let (beside_end, last_backup) = tokio::join!(beside_end, last_backup);
    if last_backup.is_err() {
        tracing::warn!("the task store could not be backed up in time; the backups of before stay");
    }
    if beside_end.is_err() {
        beside.iter().for_each(tokio::task::JoinHandle::abort);
    }
    quotas.abort();
    certificate.inspect(tokio::task::JoinHandle::abort);
    app.plugins.shutdown().await;
    if let Some(app) = Arc::into_inner(app) {
        drop(app);
        // The last handle is gone, so the device thread ends after the step at hand.
        drop(
            tokio::time::timeout(Duration::from_secs(10), tokio::task::spawn_blocking(move || engine.join()))
                .await,
        );
    }
    // Who asks for an end while the last of it goes on means an end.
    let is_stopped = terminate.recv().now_or_never().is_some() || interrupt.recv().now_or_never().is_some();
    Ok(if is_stopped { Ended::Stopped } else { ended })
}
