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
    expect(web?.security).toEqual({ capabilities: { add: ["NET_RAW"] }, seccomp: "unconfined" });
  });

  it("says of everything else that it is missing", () => {
    expect(compose(whole).unmapped).toEqual([
      "services.db.build: has no counterpart in a manifest",
      expect.stringMatching(/^services\.web\.volumes \.\/conf: /),
      expect.stringMatching(/^volumes\.data: .*1G is a guess/),
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
