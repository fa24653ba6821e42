import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { convertCompose } from "../../../src/convert/compose.ts";
import { type Converted, recordOf, wordsOf } from "../../../src/convert/model.ts";
import { convertQuadlet } from "../../../src/convert/quadlet.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";

function compose(text: string): Converted {
  return convertCompose(recordOf(parse(text)) ?? {});
}

function manifestOf({ targets, storage }: Converted) {
  return parseManifestYaml(stringify({ version: 1, product: "p", storage, targets }), "converted");
}

const whole = `
services:
  db:
    image: postgres:17
    environment: { A: "1", B: x y }
    volumes: [data:/var/lib/postgresql/data]
    healthcheck: { test: [CMD, /usr/bin/pg_isready], interval: 1m30s, retries: 5 }
    mem_limit: 512m
    build: .
  web:
    image: registry.example.com:5000/team/web:1.4
    command: serve "a b" --x
    ports: ["80:8080", "127.0.0.1:53:53/udp", "5000-5002:6000-6002"]
    depends_on: { db: { condition: service_healthy } }
    restart: unless-stopped
    cap_drop: [ALL]
    cap_add: [NET_RAW]
    security_opt: ["no-new-privileges:true", "seccomp:unconfined"]
    volumes: ["./conf:/etc/web"]
    deploy: { resources: { limits: { cpus: "0.50", memory: 1G } } }
volumes: { data: {} }
`;

describe("a compose file", () => {
  it("becomes a manifest that is sound", () => {
    const [db, web] = manifestOf(compose(whole)).targets;
    expect(db?.source).toBe("docker://docker.io/library/postgres:17");
    expect(db?.health).toMatchObject({ exec: ["/usr/bin/pg_isready"], interval: 90, retries: 5 });
    expect(db?.storage).toEqual([{ dest: "/var/lib/postgresql/data", label: "data" }]);
    expect(db?.limits).toEqual({ memory: 512 });
    expect(web?.image).toEqual({ cmd: ["serve", "a b", "--x"] });
    expect(web?.network.ports).toEqual([
      { host: 80, container: 8080 },
      { host: 53, container: 53, protocol: "udp", address: "127.0.0.1" },
      { host: 5000, container: 6000, count: 3 },
    ]);
    expect(web?.depends_on).toEqual([{ service: "db", condition: "healthy" }]);
    expect(web?.limits).toEqual({ memory: 1024, cpus: 0.5 });
    expect(web?.security).toEqual({
      capabilities: {
        add: ["NET_RAW"],
        drop: [
          ...["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL"],
          ...["NET_BIND_SERVICE", "SETGID", "SETUID"],
        ],
      },
      seccomp: "unconfined",
    });
    expect([db?.network.hosts, web?.network.hosts]).toEqual([["web"], ["db"]]);
  });

  it("says of everything else that it is missing", () => {
    expect(compose(whole).unmapped).toEqual([
      "services.db.build: has no counterpart in a manifest",
      expect.stringMatching(/^services\.web\.volumes \.\/conf: /),
      expect.stringMatching(/^volumes\.data: .*1G is a guess/),
    ]);
  });

  it("keeps labels and exposed ports, in either form", () => {
    const text = `
services:
  a: { image: a, labels: { com.example.tier: "1", empty: }, expose: [3000, "5000-5002/udp"] }
  b: { image: b, labels: [com.example.tier=2, empty] }
`;
    const [a, b] = manifestOf(compose(text)).targets;
    expect(a?.image).toEqual({
      labels: { "com.example.tier": "1", empty: "" },
      exposed_ports: ["3000/tcp", "5000-5002/udp"],
    });
    expect(b?.image?.labels).toEqual({ "com.example.tier": "2", empty: "" });
    expect(compose(text).unmapped).toEqual([]);
  });

  it("lets services find each other that share a network, and no others", () => {
    const text = `
services:
  a: { image: a, networks: [front] }
  b: { image: b, networks: { front: {}, back: { aliases: [store] } } }
  c: { image: c, networks: [back] }
  d: { image: d, network_mode: host }
`;
    const hosts = manifestOf(compose(text)).targets.map(({ network }) => network.hosts);
    expect(hosts).toEqual([["b"], ["a", "c"], ["b"], undefined]);
    expect(compose(text).unmapped).toEqual([
      "services.b.networks.back.aliases: has no counterpart in a manifest",
    ]);
  });

  it.each([
    ["a variable", 'environment: ["A=$' + '{TAG:-1}"]', "TAG:-1"],
    ["a variable of the environment without a value", "environment: { A: }", "environment.A"],
    ["an init", "init: true", "init"],
    ["a name of its own", "container_name: other", "container_name"],
    ["a host name of its own", "hostname: other", "hostname"],
    ["a terminal", "tty: true", "tty"],
    ["where it logs", "logging: { driver: syslog }", "logging"],
    ["a profile", "profiles: [debug]", "profiles"],
    ["how often it is begun again", 'restart: "on-failure:3"', "restart"],
    ["replicas", "deploy: { replicas: 2 }", "deploy.replicas"],
    [
      "a reservation",
      "deploy: { resources: { reservations: { cpus: 1 } } }",
      "deploy.resources.reservations",
    ],
    ["a limit that is none", "mem_limit: much", "mem_limit"],
    ["a longer time to stop", "stop_grace_period: 5m", "stop_grace_period"],
    [
      "a time that is no whole seconds",
      "healthcheck: { test: [CMD, /x], timeout: 500ms }",
      "healthcheck.timeout",
    ],
    [
      "a check before the start",
      "healthcheck: { test: [CMD, /x], start_interval: 1s }",
      "healthcheck.start_interval",
    ],
    [
      "a dependency that need not be there",
      "depends_on: { b: { required: false } }",
      "depends_on.b.required",
    ],
    ["a condition that there is not", "depends_on: { b: { condition: x } }", "depends_on.b x"],
    ["options of a volume", "volumes: ['data:/data:ro,z']", "volumes data z"],
    [
      "the rest of a volume",
      "volumes: [{ type: volume, source: d, target: /d, volume: {} }]",
      "volumes d.volume",
    ],
    [
      "a port's protocol of the application",
      "ports: [{ published: 1, target: 2, app_protocol: h }]",
      "ports.app_protocol",
    ],
    ["a fixed address", "networks: { a: { ipv4_address: 10.0.0.2 } }", "networks.a.ipv4_address"],
    ["what nobody knows", "x-mine: 1", "x-mine"],
  ])("says that it cannot say %s", (_what, line, key) => {
    const { unmapped } = compose(`services:\n  a:\n    image: a\n    ${line}\n  b: { image: b }\n`);
    expect(unmapped.filter((one) => one.startsWith("services.a.") && one.includes(key))).toHaveLength(1);
  });

  it("puts services that share volumes, also by way of others, into one nsgroup", () => {
    const text = `
services:
  a: { image: a, volumes: [one:/a] }
  b: { image: b, volumes: [two:/b] }
  c: { image: c, volumes: [one:/c, two:/d] }
  d: { image: d, volumes: [three:/d] }
`;
    const { targets, storage } = manifestOf(compose(text));
    expect(targets.map(({ nsgroup }) => nsgroup)).toEqual(["b", "b", "b", "d"]);
    expect(storage.map(({ nsgroup }) => nsgroup)).toEqual(["b", "b", "d"]);
  });

  it("says nothing of what holds on every device", () => {
    const usual = "init: false, tty: false, stdin_open: false, container_name: a, hostname: a, profiles: []";
    expect(compose(`services: { a: { image: a, ${usual} } }`).unmapped).toEqual([]);
    expect(compose("services: { a: { image: a } }\nvolumes: { d: { driver: nfs } }").unmapped).toEqual([
      "volumes.d.driver: has no counterpart in a manifest",
      "volumes.d: no service uses it",
    ]);
  });

  it("never fails, whatever is in it", () => {
    const keys = fc.constantFrom(
      "image",
      "ports",
      "volumes",
      "environment",
      "healthcheck",
      "deploy",
      "restart",
      ...["labels", "expose", "networks", "depends_on", "cap_add", "cap_drop", "command", "devices"],
      ...["logging", "profiles", "stop_grace_period", "mem_limit", "security_opt", "network_mode"],
      "__proto__",
      "constructor",
      "x",
    );
    fc.assert(
      fc.property(fc.dictionary(keys, fc.jsonValue()), (service) => {
        const { targets } = convertCompose({ services: { a: service } });
        expect(targets).toHaveLength(1);
      }),
    );
  });
});

describe("a quadlet", () => {
  it("becomes a target, and what it says beyond that is named", () => {
    const text = `[Unit]
Description=web
[Container]
Image=docker.io/library/nginx:1.27
Exec=nginx -g "daemon off;"
Environment=A=1 "B=two words"
PublishPort=8080:80
PublishPort=53:53/udp
Volume=data.volume:/data:ro
Volume=/etc/x:/etc/x
PidsLimit=50
[Service]
Restart=always
MemoryMax=1G
`;
    const converted = convertQuadlet(text.replace('"daemon off;"', "daemon-off"), "web");
    const [web] = manifestOf(converted).targets;
    expect(web?.image).toEqual({ cmd: ["nginx", "-g", "daemon-off"], env: ["A=1", "B=two words"] });
    expect(web?.network.ports).toHaveLength(2);
    expect(web?.storage).toEqual([{ dest: "/data", label: "data", read_only: true }]);
    expect(web?.limits).toEqual({ pids: 50, memory: 1024 });
    expect(web?.run).toEqual({ restart: "always" });
    expect(converted.unmapped).toEqual([
      expect.stringMatching(/^Volume data: /),
      "[Container] Volume=/etc/x:/etc/x: has no counterpart in a manifest",
    ]);
  });
});

describe("a quadlet of many keys", () => {
  it("loses none of them", () => {
    const text = `[Unit]
After=db.service
[Container]
Image=a
ContainerName=other
Label=tier=web "note=two words"
Label=more=1
ExposeHostPort=8080
NoNewPrivileges=false
AddCapability=CAP_NET_RAW CHOWN
DropCapability=SETUID NET_ADMIN
DropCapability=all
AutoUpdate=registry
LogDriver=none
Volume=data:/data:Z
PidsLimit=-1
[Service]
TimeoutStartSec=90
TimeoutStopSec=5m
Restart=on-abnormal
`;
    const converted = convertQuadlet(text, "web");
    const [web] = manifestOf(converted).targets;
    expect(web?.image).toEqual({
      labels: { tier: "web", note: "two words", more: "1" },
      exposed_ports: ["8080/tcp"],
    });
    expect(web?.security).toEqual({
      no_new_privileges: false,
      capabilities: { add: ["NET_RAW"], drop: ["SETUID"] },
    });
    expect(web?.run).toEqual({ start_timeout: 90 });
    const keys = converted.unmapped.map((line) => /^(\[\w+\] )?([^=:]+)/.exec(line)?.[2]);
    expect(keys.sort()).toEqual([
      ...["After", "AutoUpdate", "ContainerName", "DropCapability", "LogDriver", "PidsLimit", "Restart"],
      ...["TimeoutStopSec", "Volume data", "Volume data"],
    ]);
  });
});

describe("words of a command line", () => {
  it.each([
    ["a b", ["a", "b"]],
    [`"a b" 'c "d"' e\\ f`, ["a b", 'c "d"', "e f"]],
    [`--x="y z"`, ["--x=y z"]],
    ["a; b", undefined],
    ["$HOME", undefined],
    [`"open`, undefined],
  ])("%s", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });
});
