//! A simulator, controlled through its HTTP API as docs/simulator.md describes it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use connections_simulator::{Edge, Fault, Simulator, Sizes, World};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, Url};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Simulator of both systems.
pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    pub(crate) simulator: Arc<Simulator>,
    client: Client,
    _served: AbortOnDropHandle<()>,
}

impl Vendor {
    /// Starts a vendor whose integrations have these names.
    pub(crate) async fn start(
        sizes: Sizes,
        integrations: &[&str],
        faults: &[&str],
        requests_per_minute: Option<u32>,
    ) -> Self {
        let sizes = Sizes {
            integrations: integrations.len(),
            ..sizes
        };
        let mut world = World::new(sizes, 1, Timestamp::now());
        for (integration, name) in world.integrations.iter_mut().zip(integrations) {
            (*name).clone_into(&mut integration.name);
        }
        let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap());
        let faults = faults.collect();
        let simulator = Simulator::new(world, faults, requests_per_minute, Timestamp::now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            client: Client::new(),
            _served: AbortOnDropHandle::new(tokio::spawn(simulator.clone().serve(listener))),
            simulator,
        }
    }

    async fn ask(&self, method: Method, path: &str, query: &[(&str, &str)], body: &str) {
        let url = format!("http://{}/simulator/{path}", self.address);
        let url = Url::parse_with_params(&url, query).unwrap();
        let request = self.client.request(method, url).body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(
            status.is_success(),
            "{path} {query:?}: {}",
            answer.text().await.unwrap()
        );
    }

    pub(crate) async fn put(&self, query: &[(&str, &str)]) {
        self.ask(Method::PUT, "connections", query, "").await;
    }

    pub(crate) async fn delete(&self, query: &[(&str, &str)]) {
        self.ask(Method::DELETE, "connections", query, "").await;
    }

    pub(crate) async fn fail(&self, fault: &str) {
        self.ask(Method::POST, "faults", &[], fault).await;
    }

    /// Ends the faults of this target.
    pub(crate) async fn heal(&self, target: &str) {
        self.end_faults("target", target).await;
    }

    /// Ends the faults with this value of a key.
    pub(crate) async fn end_faults(&self, key: &str, value: &str) {
        self.ask(Method::DELETE, "faults", &[(key, value)], "")
            .await;
    }

    /// Stores a token that expires after this time and is not renewed.
    pub(crate) async fn token(&self, target: &str, connection: &str, ends: SignedDuration) {
        let date = (Timestamp::now() + ends).to_string();
        let names = [("target", target), ("connection", connection)];
        let ends = [("token_expiry", &*date), ("refresh_token", "false")];
        self.put(&[names, ends].concat()).await;
    }

    /// Sets the expiry of the exporter's own token of this integration.
    pub(crate) async fn own_token(&self, target: &str, ends: SignedDuration) {
        let date = (Timestamp::now() + ends).to_string();
        let query = [("target", target), ("expires_at", &date)];
        self.ask(Method::PUT, "tokens", &query, "").await;
    }

    /// Replaces the token of this integration by one that expires after this time, and returns it.
    pub(crate) async fn another_token(&self, integration: &str, ends: SignedDuration) -> String {
        self.own_token(integration, ends).await;
        self.simulator.change(|world| {
            let mut all = world.integrations.iter_mut();
            let one = all.find(|one| one.name == integration).unwrap();
            one.token = one.token.chars().rev().collect();
            one.token.clone()
        })
    }

    /// Returns the token of an integration.
    pub(crate) fn secret(&self, integration: &str) -> String {
        self.simulator.change(|world| {
            let mut all = world.integrations.iter();
            let one = all.find(|one| one.name == integration);
            one.unwrap().token.clone()
        })
    }

    /// Returns the ids of the Zuora connections.
    pub(crate) fn edges(&self) -> Vec<String> {
        self.simulator.change(|world| {
            let edges = world.tenant.connections.iter();
            edges.map(|edge| edge.id.clone()).collect()
        })
    }

    /// Returns a Zuora connection.
    pub(crate) fn edge(&self, id: &str) -> Edge {
        self.simulator.change(|world| {
            let mut edges = world.tenant.connections.iter();
            edges.find(|edge| edge.id == id).unwrap().clone()
        })
    }

    /// Lists a Zuora connection that was deleted.
    pub(crate) fn connect(&self, edge: Edge) {
        self.simulator
            .change(|world| world.tenant.connections.push(edge));
    }

    /// Writes the tokens of these integrations to files, and returns the YAML of an account with
    /// them.
    ///
    /// `more` is further YAML of the account.
    pub(crate) fn zis(
        &self,
        folder: &Path,
        account: &str,
        integrations: &[&str],
        more: &str,
    ) -> String {
        let mut text = format!(
            "  - account: {account}\n    base_url: http://{}\n",
            self.address
        );
        text += "    requests_per_minute: 60000\n";
        text += more;
        text += "    integrations:\n";
        for name in integrations {
            fs::write(folder.join(name), self.secret(name)).unwrap();
            // Writing to a String cannot fail.
            let _ = write!(text, "      - name: {name}\n        token_file: {name}\n");
        }
        text
    }

    /// Writes the client secret to a file, and returns the YAML of a Zuora account with it.
    pub(crate) fn zuora(&self, folder: &Path, account: &str) -> String {
        let (id, secret) = self.simulator.change(|world| {
            let tenant = &world.tenant;
            (tenant.client_id.clone(), tenant.client_secret.clone())
        });
        fs::write(folder.join(account), secret).unwrap();
        format!(
            "  - account: {account}\n    base_url: http://{}\n    requests_per_minute: 60000\n    \
                client_id: {id}\n    client_secret_file: {account}\n",
            self.address
        )
    }
}
