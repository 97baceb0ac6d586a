//! What can make the process stop or reload: signals, HTTP, the end of standard input.

use api::Command;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Something the frame must act on.
#[derive(Debug)]
pub enum Event {
    /// Reload; an asker over HTTP waits for the outcome.
    Reload(Option<oneshot::Sender<Result<(), String>>>),
    /// Stop. Who asked for it is logged already.
    Stop,
}

/// The sources of events.
pub struct Events {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    commands: mpsc::Receiver<Command>,
    stdin_ended: Option<oneshot::Receiver<()>>,
}

impl Events {
    /// Must be called within the runtime, early: from now on signals no longer kill the process.
    pub fn new(commands: mpsc::Receiver<Command>) -> std::io::Result<Events> {
        let stdin_ended = std::env::var_os(crate::demo::child::STOP_WITH_STDIN).map(|_| watch_stdin());
        Ok(Events {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            commands,
            stdin_ended,
        })
    }

    pub async fn next(&mut self) -> Event {
        let os = |name: &str| {
            let text = "Received an OS signal, exiting gracefully...";
            tracing::warn!(signal = name, "{text}");
            Event::Stop
        };
        tokio::select! {
            _ = self.hangup.recv() => Event::Reload(None),
            _ = self.interrupt.recv() => os("interrupt"),
            _ = self.terminate.recv() => os("terminated"),
            command = self.commands.recv() => match command {
                Some(Command::Reload(answer)) => Event::Reload(Some(answer)),
                Some(Command::Quit) => {
                    tracing::warn!("Received termination request via web service, exiting gracefully...");
                    Event::Stop
                }
                None => std::future::pending().await,
            },
            () = ended(&mut self.stdin_ended) => {
                tracing::warn!("Standard input ended, exiting gracefully...");
                Event::Stop
            }
        }
    }
}

async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(ended) => {
            let _ = ended.await;
            *stdin = None;
        }
        None => std::future::pending().await,
    }
}

fn watch_stdin() -> oneshot::Receiver<()> {
    let (tell, ended) = oneshot::channel();
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = [0; 256];
        while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        let _ = tell.send(());
    });
    ended
}
