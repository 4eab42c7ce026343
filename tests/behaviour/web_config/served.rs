//! Test harness: a daemon in this process with a web configuration, and its clients.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use connections_exporter::clock::Clock;
use connections_exporter::commands::daemon::{Web, run};
use connections_exporter::config::Config;
use connections_exporter::polling::reload::Configuration;
use connections_exporter::polling::shard::Shard;
use connections_exporter::settings::ConfigErrors;
use connections_exporter::web::ServerLimits;
use connections_exporter::web::config::WebConfig;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::LOOK_AGAIN;
pub(super) use crate::harness::PATIENCE;
use crate::pki::{Authority, SERVER};

/// Configuration with one target at a closed port; these tests do not depend on its state.
const NOTHING: &str = "poll:\n  first_poll_within: 0s\nzis:\n  - account: a\n    base_url: \
    http://127.0.0.1:1\n    integrations:\n      - name: n\n        token_env: T\n";

/// Web configuration that names the server's certificate and key.
pub(super) const TLS: &str =
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

pub(super) struct Served {
    pub(super) authority: Authority,
    pub(super) folder: TempDir,
    pub(super) address: SocketAddr,
    pub(super) web_config: Arc<WebConfig>,
    _end: DropGuard,
}

/// Returns the web configuration of one user; `cost` is that of bcrypt.
pub(super) fn user(name: &str, password: &str, cost: u32) -> String {
    let hash = bcrypt::hash(password, cost).unwrap();
    format!("basic_auth_users:\n  {name}: {hash}\n")
}

impl Served {
    pub(super) async fn start(text: &str) -> Self {
        Self::limited(text, ServerLimits::default()).await
    }

    pub(super) async fn limited(text: &str, limits: ServerLimits) -> Self {
        Self::polling(NOTHING.to_owned(), text, limits).await
    }

    /// Starts with 200 accounts, whose page has hundreds of kilobytes.
    pub(super) async fn large(text: &str, limits: ServerLimits) -> Self {
        let accounts = (0..200).map(|n| {
            format!(
                "  - {{account: a{n}, base_url: 'http://127.0.0.1:1', integrations: [{{name: \
                n, token_env: T}}]}}\n"
            )
        });
        let accounts: Vec<_> = accounts.collect();
        let config = format!(
            "poll: {{interval: 1h, first_poll_within: 1h}}\nzis:\n{}",
            accounts.concat()
        );
        let served = Self::polling(config, text, limits).await;
        // Wait until all accounts are open.
        loop {
            let page = served.tls("/metrics").send().await.unwrap().text().await;
            if page.unwrap().contains("account=\"a199\"") {
                return served;
            }
        }
    }

    async fn polling(config: String, text: &str, limits: ServerLimits) -> Self {
        let authority = Authority::new();
        let folder = prepared(&authority, text);
        let web_config = Arc::new(
            WebConfig::load(&folder.path().join("web.yaml"))
                .await
                .unwrap(),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let env = |_: &str| Some("t".to_owned());
        let load = move || {
            let config = Config::parse(&config, "".as_ref(), &env, ConfigErrors::new("test"));
            std::future::ready(config)
        };
        let (configuration, reload) = Configuration::load(load).await.unwrap();
        let web = Web {
            listeners: vec![listener],
            telemetry_path: "/metrics".to_owned(),
            reload: Some(reload),
            config_file: None,
            shard: Shard::default(),
            limits,
            config: web_config.clone(),
        };
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        tokio::spawn(async move { run(configuration, web, Clock::system(), None, token).await });
        Self {
            authority,
            folder,
            address,
            web_config,
            _end: shutdown.drop_guard(),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the web configuration file.
    pub(super) fn edit(&self, text: &str) {
        fs::write(self.file("web.yaml"), text).unwrap();
    }

    /// Returns a client that trusts the authority.
    pub(super) fn client(&self) -> ClientBuilder {
        let authority = Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .resolve(SERVER, self.address)
    }

    pub(super) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{SERVER}:{}{path}", self.address.port())
    }

    /// Returns a request over plain HTTP, on its own connection.
    pub(super) fn plain(&self, path: &str) -> RequestBuilder {
        self.client().build().unwrap().get(self.url("http", path))
    }

    /// Returns a request over TLS, on its own connection.
    pub(super) fn tls(&self, path: &str) -> RequestBuilder {
        self.client().build().unwrap().get(self.url("https", path))
    }
}

/// Writes a server certificate, its authority and this web configuration to a directory.
pub(super) fn prepared(authority: &Authority, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    authority.server().write(folder.path(), "server");
    fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    fs::write(folder.path().join("web.yaml"), text).unwrap();
    folder
}

/// Repeats a request until its result satisfies `what`.
pub(super) async fn when(
    request: impl Fn() -> RequestBuilder,
    what: impl Fn(&Result<Response, reqwest::Error>) -> bool,
) -> Result<Response, reqwest::Error> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = request().send().await;
        if what(&answer) {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it did not come: {answer:?}"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
