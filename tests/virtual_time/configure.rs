//! Configuration of one vendor's accounts, as an operator would write it.

use std::collections::BTreeMap;

use connections_exporter::config::Config;
use connections_exporter::settings::ConfigErrors;
use fastrand::Rng;

use crate::vendor::Vendor;

/// Returns a configuration that discovers the entities of the tenant.
///
/// It also discovers the integrations of every second vendor, and lists those of the others.
pub(crate) fn configure(vendor: &Vendor, n: usize, random: &mut Rng) -> Config {
    let tight = random.u32(..4) == 0;
    let mut draw = |list: &[&str]| list[random.usize(..list.len())].to_owned();
    let (rates, intervals) = (["2", "6", "30", "60"], ["2h", "4h", "8h"]);
    let common = |rate: String, interval: String| {
        format!(
            "    base_url: http://127.0.0.1:{}\n    requests_per_minute: {rate}\n    interval: \
                {interval}\n",
            9000 + n
        )
    };
    // In some months, one account needs more requests than its budget allows.
    let zuora = if n == 0 && tight {
        common("1".to_owned(), "9m".to_owned())
    } else {
        common(draw(&rates), draw(&intervals))
    };
    let zis = common(draw(&rates), draw(&intervals));
    vendor.simulator.change(|world| {
        let mut env = BTreeMap::from([
            ("ID".to_owned(), world.tenant.client_id.clone()),
            ("SECRET".to_owned(), world.tenant.client_secret.clone()),
            ("ADMIN".to_owned(), world.admin.0.clone()),
            ("ADMIN_SECRET".to_owned(), world.admin.1.clone()),
        ]);
        let integrations = if n % 2 == 1 {
            "    admin_client: {client_id_env: ADMIN, client_secret_env: ADMIN_SECRET}\n    \
                integrations: all\n"
                .to_owned()
        } else {
            let integrations = world.integrations.iter().map(|integration| {
                let name = &integration.name;
                env.insert(name.to_uppercase(), integration.token.clone());
                format!(
                    "      - {{name: {name}, token_env: {}}}\n",
                    name.to_uppercase()
                )
            });
            format!("    integrations:\n{}", integrations.collect::<String>())
        };
        let text = format!(
            "poll: {{first_poll_within: 10m, request_timeout: 30s, max_connections: \
                500}}\nzuora:\n  - account: z{n}\n    client_id_env: ID\n    client_secret_env: \
                SECRET\n{zuora}zis:\n  - account: s{n}\n{zis}{integrations}"
        );
        let env = |name: &str| env.get(name).cloned();
        Config::parse(&text, "".as_ref(), &env, ConfigErrors::new("month")).unwrap()
    })
}
