# /etc/vault-agent/agent.hcl
vault {
  address = "https://vault.example.com:8200"
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/vault-agent/role_id"
      secret_id_file_path                 = "/etc/vault-agent/secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # How often a secret without a lease, as in KV, is read again.
  static_secret_render_interval = "5m"
}

template {
  contents             = "{{ with secret \"kv/data/connections-exporter\" }}{{ .Data.data.zuora_client_id }}{{ end }}"
  destination          = "/etc/connections-exporter/shared/zuora_client_id"
  perms                = "0640"
  error_on_missing_key = true
}

template {
  contents             = "{{ with secret \"kv/data/connections-exporter\" }}{{ .Data.data.zuora }}{{ end }}"
  destination          = "/etc/connections-exporter/shared/zuora"
  perms                = "0640"
  error_on_missing_key = true
}

template {
  contents             = "{{ with secret \"kv/data/connections-exporter\" }}{{ .Data.data.acme_slack }}{{ end }}"
  destination          = "/etc/connections-exporter/shared/acme_slack"
  perms                = "0640"
  error_on_missing_key = true
}
