"""Checks that each recipe provides the secrets that the configuration of the recipes names."""

import pathlib
import sys

import yaml

STORES = pathlib.Path(__file__).resolve().parent / "secret-stores"
RECIPES = [
    "compose/compose.secrets.yaml",
    "external-secrets/external-secret.yaml",
    "secrets-store-csi/secret-provider-class.yaml",
    "sops/secret.yaml",
    "vault-agent/agent.hcl",
    "vault-agent/kustomization.yaml",
]


def named(value):
    """Yields the file names in a configuration."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, (dict, list)):
            yield from named(inner)
        elif str(key).endswith("_file"):
            yield pathlib.PurePath(inner).name


names = set(named(yaml.safe_load((STORES / "config.yaml").read_text())))
assert len(names) == 3, names
for recipe in RECIPES:
    text = (STORES / recipe).read_text()
    for name in names:
        if name not in text:
            sys.exit(f"{recipe} does not provide {name}")

# No package has the schema of a SecretProviderClass. The driver takes parameters as text only.
provider = yaml.safe_load((STORES / "secrets-store-csi/secret-provider-class.yaml").read_text())
assert provider["apiVersion"] == "secrets-store.csi.x-k8s.io/v1", provider["apiVersion"]
assert set(provider["spec"]) == {"provider", "parameters"}, provider["spec"]
assert all(isinstance(value, str) for value in provider["spec"]["parameters"].values())
objects = yaml.safe_load(provider["spec"]["parameters"]["objects"])
assert {entry["objectName"] for entry in objects} == names, objects
assert all(set(entry) == {"objectName", "secretPath", "secretKey"} for entry in objects), objects
