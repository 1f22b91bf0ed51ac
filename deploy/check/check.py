"""Checks the container file, the manifests and the chart: `check.py TOOLS ADIT`, with the tools that `fetch.py` has put there.

There is no cluster: what an API server would refuse is found by its own schemas, what a node would refuse by the rules of the Pod
Security Standard `restricted`, and what would not work by following the names from one object to the next.
"""

import copy
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

TOOLS, ADIT = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
sys.path.insert(0, str(TOOLS / "python"))
DEPLOY = pathlib.Path(__file__).parent.parent
CHART = DEPLOY / "helm" / "adit"

import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

# The oldest with native sidecars, and the newest whose schemas we have.
VERSIONS = ("1.29", "1.37")
SIDECAR = ["--set", "mode=sidecar", "--set", "application.name=app", "--set", "application.image=app:1",
           "--set-json", 'application.securityContext={"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}']
# Two connections, for a forward of each.
LAB = 'config=[connection.production]\nprotocol="ikev2"\nremotes=["a.example"]\nuser="a"\ninitial_contact=false\n' \
      'password={file="/etc/adit/secrets/password"}\nca=["/etc/adit/secrets/ca.pem"]\n[connection.lab]\nprotocol="ikev2"\n' \
      'user="b"\npassword={file="/etc/adit/secrets/password"}\nca=["/etc/adit/secrets/ca.pem"]\n' \
      '[[connection.lab.gateway]]\nname="b"\nremotes=["b.example"]\ninitial_contact=false'
SECOND = ["--set-string", LAB.replace(",", "\\,"), "--set-json", 'forwards=[{"name":"crm","port":33000,"to":"192.168.100.30:8080"},'
          '{"name":"dns","port":33053,"to":"192.168.100.53:53","transport":"udp","connection":"lab","gateway":"b","maxConnections":7}]']
EVERYTHING = SECOND + ["--set", "serviceMonitor.enabled=true", "--set", "probes.exec=true", "--set", "image.digest=sha256:" + 64 * "a",
                       "--set", "serviceAccount.create=false", "--set", "networkPolicy.gateways[0].ipBlock.cidr=203.0.113.1/32",
                       "--set", "podAnnotations.a=b", "--set", "nodeSelector.zone=one", "--set", "extraEnv[0].name=X",
                       "--set-string", "extraEnv[0].value=1"]


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def objects(text):
    return [one for one in yaml.safe_load_all(text) if one]


def helm(*values):
    output = run(TOOLS / "helm", "template", "office", CHART, *values)
    assert output.returncode == 0, output.stderr
    return objects(output.stdout)


def kustomize(name):
    output = run(TOOLS / "kubectl", "kustomize", DEPLOY / "kubernetes" / name)
    assert output.returncode == 0, output.stderr
    return objects(output.stdout)


ALL = {
    "chart, gateway": lambda: helm(),
    "chart, gateway with everything": lambda: helm(*EVERYTHING),
    "chart, sidecar": lambda: helm(*SIDECAR, *SECOND),
    "kustomize, gateway": lambda: kustomize("gateway"),
    "kustomize, sidecar": lambda: kustomize("sidecar"),
}


def of_kind(kind, all_objects, name=None):
    found = [one for one in all_objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def validate(one, version):
    kubernetes_validate.validate(one, version, strict=True)


def servicemonitor(one):
    """Its schema is no part of Kubernetes: what we use of it, by name."""
    assert set(one) == {"apiVersion", "kind", "metadata", "spec"} and set(one["spec"]) == {"selector", "endpoints"}
    for endpoint in one["spec"]["endpoints"]:
        assert set(endpoint) == {"port", "path", "interval"} and endpoint["path"] == "/metrics"


def refused(check, *arguments):
    try:
        check(*arguments)
    except Exception:  # whatever says no
        return
    raise AssertionError("it was accepted")


# What is checked: each function is one.


def every_object_is_what_the_api_takes():
    for name, make in ALL.items():
        for one in make():
            if one["kind"] == "ServiceMonitor":
                servicemonitor(one)
                continue
            for version in VERSIONS:
                try:
                    validate(one, version)
                except Exception as error:
                    raise AssertionError(f"{name}, {one['kind']}, {version}: {error}") from error


def the_schemas_notice_mistakes():
    deployment = of_kind("Deployment", helm())
    for change in (
        lambda spec: spec.update(replicas="two"),
        lambda spec: spec.update(replica=2),
        lambda spec: spec["template"]["spec"]["containers"][0].update(livenesProbe={}),
        lambda spec: spec["template"]["spec"]["containers"][0].pop("name"),
    ):
        wrong = copy.deepcopy(deployment)
        change(wrong["spec"])
        refused(validate, wrong, VERSIONS[-1])


def pods_meet_the_restricted_standard():
    for name, make in ALL.items():
        spec = of_kind("Deployment", make())["spec"]["template"]["spec"]
        restricted(spec, name)
        assert spec["automountServiceAccountToken"] is False, name
    for change in (
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec["volumes"].append({"name": "tun", "hostPath": {"path": "/dev/net/tun"}}),
        lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        lambda spec: spec["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    ):
        wrong = copy.deepcopy(of_kind("Deployment", helm())["spec"]["template"]["spec"])
        change(wrong)
        refused(restricted, wrong, "wrong")


def restricted(spec, name):
    """Pod Security Standards, profile `restricted`, for Linux."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        assert not spec.get(key), f"{name}: {key}"
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        assert set(volume) - {"name"} <= allowed, f"{name}: volume {volume}"
    of_pod = spec.get("securityContext", {})
    for container in spec.get("initContainers", []) + spec["containers"]:
        own = container.get("securityContext", {})
        either = of_pod | own
        assert own.get("allowPrivilegeEscalation") is False, f"{name}: allowPrivilegeEscalation"
        assert not own.get("privileged"), f"{name}: privileged"
        assert either.get("runAsNonRoot") is True and either.get("runAsUser") != 0, f"{name}: root"
        assert either.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"), f"{name}: seccomp"
        assert own["capabilities"]["drop"] == ["ALL"], f"{name}: capabilities"
        assert set(own["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}, f"{name}: capabilities"
        for port in container.get("ports", []):
            assert "hostPort" not in port and port["containerPort"] > 1023, f"{name}: {port}"


def the_tunnel_has_a_read_only_root_and_right_probes():
    for name, make in ALL.items():
        spec = of_kind("Deployment", make())["spec"]["template"]["spec"]
        sidecar = "sidecar" in name
        container = spec["initContainers" if sidecar else "containers"][0]
        assert container["name"] == "adit" and container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert ("startupProbe" in container) == sidecar and (container.get("restartPolicy") == "Always") == sidecar, name
        if "everything" in name:
            assert container["readinessProbe"]["exec"]["command"][:2] == ["/usr/bin/adit", "healthcheck"], name
        else:
            assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}, name
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}, name
            assert not sidecar or container["startupProbe"]["httpGet"]["path"] == "/startupz", name
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts <= {volume["name"] for volume in spec["volumes"]}, name
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # Whoever does not know yet that this one leaves the Service is still let in; in a pod nobody else calls.
        assert (before > 0) != sidecar, name
        # A gateway that is silent takes up to three seconds more, for the farewells.
        assert spec["terminationGracePeriodSeconds"] >= before + config(make())["limits"]["drain_seconds"] + 5, name


def config(all_objects):
    return tomllib.loads(of_kind("ConfigMap", all_objects)["data"]["adit.toml"])


def forwards(all_objects):
    connections = config(all_objects)["connection"].values()
    return [forward for connection in connections for forward in connection.get("forward", [])]


def names_lead_from_service_to_forward():
    for name in ("chart, gateway", "chart, gateway with everything", "kustomize, gateway"):
        made = ALL[name]()
        spec = of_kind("Deployment", made)["spec"]
        labels = spec["template"]["metadata"]["labels"].items()
        ports = {port["name"]: port for port in spec["template"]["spec"]["containers"][0]["ports"]}
        service = of_kind("Service", made, "vpn")
        listens = {(int(forward["listen"].rpartition(":")[2]), forward.get("transport", "tcp").upper()) for forward in forwards(made)}
        offers = {(ports[port["targetPort"]]["containerPort"], port["protocol"]) for port in service["spec"]["ports"]}
        assert listens == offers, f"{name}: {listens} and {offers}"
        for port in service["spec"]["ports"]:
            target = ports[port["targetPort"]]
            assert target["protocol"] == port["protocol"], f"{name}: {port}"
            assert target["containerPort"] == port["port"] or port["port"] == 80, f"{name}: {port}"
        assert all(forward["listen"].startswith("0.0.0.0:") for forward in forwards(made)), name
        selectors = [service["spec"]["selector"], spec["selector"]["matchLabels"]]
        selectors += [of_kind("PodDisruptionBudget", made)["spec"]["selector"]["matchLabels"]]
        policy = of_kind("NetworkPolicy", made)["spec"]
        selectors += [policy["podSelector"]["matchLabels"]]
        for selector in selectors:
            assert selector and selector.items() <= labels, f"{name}: {selector}"
        open_to = {(port["port"], port["protocol"]) for port in policy["ingress"][0]["ports"]}
        assert open_to == offers, f"{name}: the policy opens {open_to}"
        admin = int(config(made)["admin"]["listen"].rpartition(":")[2])
        assert ports["admin"]["containerPort"] == admin and policy["ingress"][1]["ports"][0]["port"] == admin, name


def metrics_are_found():
    for name in ("chart, gateway with everything", "kustomize, gateway"):
        made = ALL[name]()
        monitor = of_kind("ServiceMonitor", made)["spec"]
        wanted = monitor["selector"]["matchLabels"].items()
        found = [one for one in made if one["kind"] == "Service" and wanted <= one["metadata"].get("labels", {}).items()]
        assert len(found) == 1 and found[0]["spec"]["publishNotReadyAddresses"] is True, name
        assert monitor["endpoints"][0]["port"] in [port["name"] for port in found[0]["spec"]["ports"]], name


def a_sidecar_listens_in_its_pod_alone():
    for name in ("chart, sidecar", "kustomize, sidecar"):
        made = ALL[name]()
        assert forwards(made) and all(forward["listen"].startswith("127.0.0.1:") for forward in forwards(made)), name
        assert not [one for one in made if one["kind"] == "Service" and one["metadata"]["name"] == "vpn"], name


def a_forward_keeps_all_that_was_said_of_it():
    made = config(helm(*SECOND))
    assert made["connection"]["lab"]["forward"] == [{
        "name": "dns", "listen": "0.0.0.0:33053", "to": "192.168.100.53:53", "transport": "udp", "gateway": "b", "max_connections": 7,
    }]


def adit_takes_every_configuration():
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Office CA",
                   "-keyout", place / "ca.key", "-out", place / "ca.pem")
        assert made.returncode == 0, made.stderr
        (place / "password").write_text("secret")
        (place / "password").chmod(0o600)
        for name, make in ALL.items():
            text = of_kind("ConfigMap", make())["data"]["adit.toml"]
            file = place / "adit.toml"
            file.write_text(text.replace("/etc/adit/secrets", folder))
            said = run(ADIT, "check", file)
            assert said.returncode == 0, f"{name}: {said.stdout}{said.stderr}"
            file.write_text(text.replace("/etc/adit/secrets", folder).replace("drain_seconds", "drain_second"))
            assert run(ADIT, "check", file).returncode != 0, f"{name}: adit takes anything"


def mebibytes(quantity):
    """`512Mi` or `1Gi`."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def buffers_fit(made, name):
    """The memory for buffers leaves as much for everything else."""
    spec = of_kind("Deployment", made)["spec"]["template"]["spec"]
    containers = spec["containers"] + spec.get("initContainers", [])
    limit = next(mebibytes(one["resources"]["limits"]["memory"]) for one in containers if one["name"] == "adit")
    memory = config(made)["limits"].get("memory_mib", 512)
    assert 2 * memory <= limit, f"{name}: {memory} MiB for buffers, and {limit} MiB for the container"


def buffers_leave_memory_for_the_rest():
    for name, make in ALL.items():
        buffers_fit(make(), name)
    refused(buffers_fit, helm("--set", "memoryMib=257"), "too much")


def replicas_leave_each_other_their_sessions():
    for name in ("chart, gateway", "kustomize, gateway"):
        for connection in config(ALL[name]())["connection"].values():
            assert connection["protocol"] != "ikev2" or connection["initial_contact"] is False, name


def policies_of_both_let_the_same_protocols_out():
    gateways = [of_kind("NetworkPolicy", ALL[name]())["spec"]["egress"][1]["ports"] for name in ("chart, gateway", "kustomize, gateway")]
    assert gateways[0] == gateways[1], gateways


def an_empty_list_lets_nobody_in():
    """To Kubernetes `from: []` is everybody."""
    for key, left in (("from", 9002), ("metricsFrom", 33000)):
        ingress = of_kind("NetworkPolicy", helm("--set-json", f"networkPolicy.{key}=[]"))["spec"]["ingress"]
        assert [port["port"] for rule in ingress for port in rule["ports"]] == [left], f"{key}: {ingress}"
    both = helm("--set-json", "networkPolicy.from=[]", "--set-json", "networkPolicy.metricsFrom=[]")
    assert not of_kind("NetworkPolicy", both)["spec"].get("ingress"), "both empty"


def a_change_of_the_configuration_rolls_out():
    def checksum(*values):
        return of_kind("Deployment", helm(*values))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() == checksum("--set", "replicaCount=3") != checksum("--set", "forwards[0].port=33001", "--set",
                                                                       "forwards[0].name=crm", "--set", "forwards[0].to=a:1")
    def name_of(*values):
        """A name of its own for each content: a fixed one would be read anew, and wrong, by the pods that are to stay."""
        made = helm(*values)
        volumes = of_kind("Deployment", made)["spec"]["template"]["spec"]["volumes"]
        assert of_kind("ConfigMap", made)["metadata"]["name"] in [volume.get("configMap", {}).get("name") for volume in volumes]
        return of_kind("ConfigMap", made)["metadata"]["name"]

    assert name_of() == name_of("--set", "replicaCount=3") != name_of("--set", "drainSeconds=20"), "the name of the ConfigMap"
    names = [volume["configMap"]["name"] for volume in of_kind("Deployment", kustomize("gateway"))["spec"]["template"]["spec"]["volumes"]
             if "configMap" in volume]
    assert names == [of_kind("ConfigMap", kustomize("gateway"))["metadata"]["name"]] and names != ["adit-config"]


TWO = ["--set", "forwards[0].name=a,forwards[0].port=8080,forwards[0].to=a:1,forwards[1].to=a:1"]


def what_is_said_of_rollouts_and_probes_is_there():
    made = of_kind("Deployment", helm("--set", "strategy.type=Recreate", "--set", "probes.connection=production"))["spec"]
    assert made["strategy"] == {"type": "Recreate"}, made["strategy"]
    container = made["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?connection=production", container
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez", container
    by_program = of_kind("Deployment", helm("--set", "probes.exec=true", "--set", "probes.connection=production"))["spec"]
    probe = by_program["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["exec"]["command"][-2:] == ["--connection", "production"] and probe["timeoutSeconds"] == 5, probe
    made = helm("--set", "forwards[0].name=web,forwards[0].port=8080,forwards[0].servicePort=80,forwards[0].to=a:1", "--set", "handshakes=3")
    [port] = of_kind("Service", made, "vpn")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "web"), port
    assert config(made)["limits"]["handshakes"] == 3, config(made)


def values_that_cannot_work_are_refused():
    for values, says in (
        (["--set", "forwards[0].port=80", "--set", "forwards[0].name=x", "--set", "forwards[0].to=a:1"], "minimum"),
        (["--set", "forwards[0].to=a:1", "--set", "forwards[0].port=8080"], "name"),
        (["--set", "replicas=3"], "replicas"),
        (["--set", "mode=sidecar"], "application"),
        (["--set", "mode=daemon"], "mode"),
        (["--set", "drainSeconds=28"], "terminationGracePeriodSeconds must be at least 5 more than preStopSeconds and drainSeconds together"),
        (["--set", "preStopSeconds=-1"], "minimum"),
        (["--set", "image.digest=latest"], "digest"),
        (["--set-json", "forwards=[]"], "forwards"),
        (["--set", "forwards[0].name=admin,forwards[0].port=8080,forwards[0].to=a:1"], "the name admin is taken"),
        (["--set", "forwards[0].name=a--b,forwards[0].port=8080,forwards[0].to=a:1"], "pattern"),
        (["--set", "forwards[0].name=a,forwards[0].port=9002,forwards[0].to=a:1"], "9002/tcp is taken"),
        (TWO + ["--set", "forwards[1].name=a,forwards[1].port=8081"], "the name a is taken"),
        (TWO + ["--set", "forwards[1].name=b,forwards[1].port=8080"], "8080/tcp is taken"),
        (TWO + ["--set", "forwards[1].name=b,forwards[1].port=8081,forwards[1].servicePort=8080"], "8080/tcp of the Service"),
        (["--set", "connection=prodction"], "config has no [connection.prodction]"),
        (["--set", "probes.connection=other"], "config has no [connection.other]"),
    ):
        output = run(TOOLS / "helm", "template", "office", CHART, *values)
        assert output.returncode != 0 and says in output.stderr, f"{values}: {output.stderr}"


def helm_finds_nothing_to_say():
    output = run(TOOLS / "helm", "lint", "--strict", CHART)
    assert output.returncode == 0, output.stdout


def the_container_file_is_clean():
    environment = os.environ | {"PYTHONPATH": str(TOOLS / "python")}
    program = TOOLS / "python" / "bin" / "hadolint"
    images = []
    for name in ("Containerfile", "Containerfile.prebuilt"):
        path = DEPLOY / "container" / name
        output = subprocess.run([program, path], capture_output=True, text=True, check=False, env=environment)
        assert output.returncode == 0, output.stdout + output.stderr
        last = path.read_text().split("\nFROM ")[-1]
        assert last.startswith("scratch\n") and "\nRUN " not in last and "\nUSER 65532:65532\n" in last, name
        images.append([line for line in last.splitlines() if not line.startswith("COPY ")])
    assert images[0] == images[1], "the two images differ in more than where the program comes from"
    wrong = subprocess.run([program, "-"], input="FROM debian\nUSER root\n", capture_output=True, text=True, check=False, env=environment)
    assert wrong.returncode != 0, "hadolint takes anything"


CHECKS = [
    every_object_is_what_the_api_takes, the_schemas_notice_mistakes, pods_meet_the_restricted_standard,
    the_tunnel_has_a_read_only_root_and_right_probes, names_lead_from_service_to_forward, metrics_are_found,
    a_sidecar_listens_in_its_pod_alone, a_forward_keeps_all_that_was_said_of_it, adit_takes_every_configuration,
    buffers_leave_memory_for_the_rest, replicas_leave_each_other_their_sessions, policies_of_both_let_the_same_protocols_out,
    an_empty_list_lets_nobody_in, what_is_said_of_rollouts_and_probes_is_there, a_change_of_the_configuration_rolls_out,
    values_that_cannot_work_are_refused, helm_finds_nothing_to_say, the_container_file_is_clean,
]


def main():
    failed = 0
    for check in CHECKS:
        try:
            check()
            print(f"test deploy::{check.__name__} ... ok", flush=True)
        except Exception as error:
            failed += 1
            print(f"test deploy::{check.__name__} ... FAILED\n  {type(error).__name__}: {error}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
