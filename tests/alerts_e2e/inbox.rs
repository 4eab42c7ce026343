//! Webhook receiver for Alertmanager's notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Labels of an alert, including `alertname` and `severity`.
pub(crate) type Labels = BTreeMap<String, String>;

/// Alert that is identified by some of its labels.
pub(crate) struct Alert(pub(crate) Labels);

impl Alert {
    /// Creates an alert with this name and severity, and with labels such as `account=acme
    /// target=slack`.
    pub(crate) fn new(name: &str, severity: &str, labels: &str) -> Self {
        let pairs = labels
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap());
        let own = [("alertname", name), ("severity", severity)];
        let all = own.into_iter().chain(pairs);
        Self(
            all.map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    pub(crate) fn is(&self, labels: &Labels) -> bool {
        let mut own = self.0.iter();
        own.all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// Notification as Alertmanager sends it.
#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    status: String,
    labels: Labels,
    annotations: Labels,
}

/// Change of an alert: it fires, or it is resolved.
pub(crate) struct Notice {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) firing: bool,
    pub(crate) at: Instant,
}

/// All changes that were notified.
#[derive(Default)]
pub(crate) struct Inbox {
    notices: Mutex<Vec<Notice>>,
    came: Notify,
}

impl Inbox {
    /// Listens for notifications until the handle is dropped.
    pub(crate) async fn open() -> (Arc<Self>, SocketAddr, AbortOnDropHandle<()>) {
        let inbox = Arc::new(Self::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = tokio::spawn(inbox.clone().listen(listener));
        (inbox, address, AbortOnDropHandle::new(listening))
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let inbox = self.clone();
            let take = service_fn(move |request: Request<Incoming>| {
                let inbox = inbox.clone();
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    inbox.take(&body);
                    Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
        }
    }

    /// Stores the changes in a notification, which repeats all alerts of its group.
    fn take(&self, body: &[u8]) {
        let told: Notification = serde_json::from_slice(body).unwrap();
        let mut notices = self.notices.lock();
        for Told {
            status,
            labels,
            annotations,
        } in told.alerts
        {
            let firing = status == "firing";
            let last = notices.iter().rev().find(|notice| notice.labels == labels);
            if last.is_none_or(|last| last.firing != firing) {
                let at = Instant::now();
                notices.push(Notice {
                    labels,
                    annotations,
                    firing,
                    at,
                });
            }
        }
        drop(notices);
        self.came.notify_waiters();
    }

    /// Calls a function with all changes.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Notice]) -> T) -> T {
        look(&self.notices.lock())
    }

    /// Waits until the alert fires, and returns when this was first notified.
    pub(crate) async fn fires(&self, alert: &Alert, within: Duration) -> Instant {
        let first = |notices: &[Notice]| {
            let mut told = notices.iter().filter(|notice| alert.is(&notice.labels));
            told.find(|notice| notice.firing).map(|notice| notice.at)
        };
        self.wait(alert, "does not fire", first, within).await
    }

    /// Waits until the last change of the alert is that it is resolved, and returns when.
    pub(crate) async fn ends(&self, alert: &Alert, within: Duration) -> Instant {
        let last = |notices: &[Notice]| {
            let mut told = notices
                .iter()
                .rev()
                .filter(|notice| alert.is(&notice.labels));
            told.next()
                .filter(|notice| !notice.firing)
                .map(|notice| notice.at)
        };
        self.wait(alert, "does not end", last, within).await
    }

    async fn wait(
        &self,
        alert: &Alert,
        otherwise: &str,
        when: impl Fn(&[Notice]) -> Option<Instant>,
        within: Duration,
    ) -> Instant {
        let deadline = Instant::now() + within;
        loop {
            // Registered before the check, so that no notification is missed.
            let mut came = std::pin::pin!(self.came.notified());
            came.as_mut().enable();
            if let Some(at) = self.look(&when) {
                return at;
            }
            let late = timeout_at(deadline, came).await.is_err();
            assert!(
                !late,
                "{:?} {otherwise}; told so far: {:#?}",
                alert.0,
                self.told()
            );
        }
    }

    /// Returns every alert that fired, each once.
    ///
    /// An alert that was inhibited to its end can be in the notification of its group as resolved.
    pub(crate) fn told(&self) -> BTreeSet<Labels> {
        let labels = |notices: &[Notice]| {
            let fired = notices.iter().filter(|notice| notice.firing);
            fired.map(|notice| notice.labels.clone()).collect()
        };
        self.look(labels)
    }
}
