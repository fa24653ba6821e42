// Manifests whose units are kept as golden files, and checked by systemd and quadlet themselves in the
// integration lane.
import type { Target } from "../src/manifest/schema.ts";
import type { RenderInput } from "../src/services/model.ts";
import {
  sampleImage,
  sampleInput,
  sampleLayer,
  sampleManifest,
  sampleSecret,
  sampleTarget,
} from "./samples.ts";

const simple: Target["network"] = { type: "simple", ipv4: "", ipv6: "", ports: [] };

export const goldenCases = {
  "container-without-network": () => sampleInput(sampleManifest()),

  "container-with-port-and-volume": () => {
    const target = sampleTarget({
      service_name: "zot",
      nsgroup: "zot",
      network: { ...simple, ipv4: "10.0.3.99/24", ports: [{ host: 80, container: 5000 }] },
      storage: [{ dest: "/var/lib/registry", label: "zot-data" }],
    });
    return sampleInput(
      sampleManifest({
        targets: [target],
        storage: [{ label: "zot-data", persistent: true, nsgroup: "zot", size: 30_720 }],
      }),
    );
  },

  "container-on-host-ids-and-host-network": () =>
    sampleInput(
      sampleManifest({
        targets: [
          sampleTarget({ nsgroup: "none", network: { type: "host", ipv4: "", ipv6: "", ports: [] } }),
        ],
      }),
    ),

  "two-services-share-a-layer": () => {
    const base = sampleLayer("base");
    const one = sampleTarget({ service_name: "one", nsgroup: "first", network: simple });
    const two = sampleTarget({ service_name: "two", nsgroup: "second", network: simple });
    const manifest = sampleManifest({ targets: [one, two] });
    return sampleInput(manifest, [
      sampleImage(one, [base, sampleLayer("top of one")]),
      sampleImage(two, [base, sampleLayer("top of two", "erofs")]),
    ]);
  },

  "fs-only-and-boot-targets": () => {
    const data = sampleTarget({ service_name: "my-data", service_type: "fs-only", nsgroup: "" });
    const several = sampleTarget({ service_name: "several", service_type: "fs-only", nsgroup: "" });
    const hostfs = sampleTarget({ service_name: "hostfs", service_type: "hostfs", nsgroup: "" });
    const bootkit = sampleTarget({ service_name: "bootkit", service_type: "fs-only", nsgroup: "" });
    const manifest = sampleManifest({ targets: [data, several, hostfs, bootkit] });
    return sampleInput(manifest, [
      sampleImage(data),
      sampleImage(several, [sampleLayer("low"), sampleLayer("high")]),
      sampleImage(hostfs),
      sampleImage(bootkit),
    ]);
  },

  "both-address-families": () =>
    sampleInput(
      sampleManifest({
        targets: [
          sampleTarget({
            service_name: "a",
            network: { ...simple, ipv4: "10.0.3.4/24", ipv6: "fd00:3::4/64" },
          }),
          sampleTarget({ service_name: "b", network: { ...simple, ipv4: "10.0.3.5/24" } }),
        ],
      }),
    ),

  "volume-until-power-off": () => {
    const target = sampleTarget({ storage: [{ dest: "/cache", label: "cache" }] });
    return sampleInput(
      sampleManifest({
        targets: [target],
        storage: [{ label: "cache", persistent: false, nsgroup: "web", size: 64 }],
      }),
    );
  },

  "services-with-secrets": () => {
    const web = sampleTarget({ secrets: [sampleSecret("token"), sampleSecret("tls.key")] });
    const worker = sampleTarget({
      service_name: "worker",
      nsgroup: "none",
      secrets: [sampleSecret("token")],
    });
    const plain = sampleTarget({ service_name: "plain" });
    const manifest = sampleManifest({ targets: [web, worker, plain] });
    const image = sampleImage(worker);
    const config = { config: { Env: ["CREDENTIALS_DIRECTORY=/elsewhere"], User: "1000", Cmd: ["/worker"] } };
    return sampleInput(manifest, [sampleImage(web), { ...image, config }, sampleImage(plain)]);
  },

  "image-configuration-with-hostile-text": () => {
    const target = sampleTarget({ version: '1.0 100% "x" $HOME' });
    const image = sampleImage(target);
    return sampleInput(sampleManifest({ targets: [target] }), [
      {
        ...image,
        config: {
          config: {
            Entrypoint: ["/bin/sh", "-c", ""],
            Cmd: ["echo $HOME %h", "a\nExecStart=/bin/evil", 'quo"te\\', "é", "tail\\"],
            Env: ["A=1\n[Service]\nExecStartPre=/bin/evil", "B=$PATH %n", "C=two words", "D="],
            User: "www-data:33",
            WorkingDir: "/srv/100% $x",
            StopSignal: "SIGINT",
            Labels: { "a b%h": "x\n[Service]\nExecStartPre=/bin/evil $HOME", "": "no name", "=": "no name" },
            Healthcheck: { Test: ["CMD-SHELL", "test $A = '%h'\nExecStart=/bin/evil"], Interval: 5e9 },
          },
        },
      },
    ]);
  },

  "image-says-more": () => {
    const config = {
      config: {
        Entrypoint: ["/bin/db"],
        Labels: { "org.opencontainers.image.title": "db", tier: "image" },
        ExposedPorts: { "5432/tcp": {}, "53/udp": {} },
        Volumes: { "/data/": {}, "/var/lib/db": {}, "/etc/db.conf": {} },
        Healthcheck: {
          Test: ["CMD", "db-ready", "-q"],
          Interval: 5e9,
          Timeout: 2_600_000_000,
          Retries: 5,
          StartPeriod: 0,
        },
      },
    };
    const more = {
      storage: [{ dest: "/var/lib/db", label: "db" }],
      files: [{ dest: "/etc/db.conf", content: "" }],
      security: { read_only: true },
      limits: { scratch: 16 },
    };
    const own = sampleTarget({
      service_name: "own",
      nsgroup: "db",
      image: { labels: { tier: "manifest" } },
      ...more,
    });
    const asked = { interval: 9, timeout: 3, retries: 2, start_period: 4, required: true };
    const other = sampleTarget({
      service_name: "other",
      nsgroup: "db",
      health: { exec: ["/bin/ready"], ...asked },
      image: { exposed_ports: ["80/tcp"], volumes: [], labels: {} },
      ...more,
    });
    const silent = sampleTarget({ service_name: "silent", nsgroup: "db", image: { healthcheck: "none" } });
    const once = sampleTarget({ service_name: "once", nsgroup: "db", run: { mode: "once" } });
    const manifest = sampleManifest({
      targets: [own, other, silent, once],
      storage: [{ label: "db", persistent: false, nsgroup: "db", size: 64 }],
    });
    return sampleInput(
      manifest,
      manifest.targets.map((target) => ({ ...sampleImage(target), config })),
    );
  },

  "files-of-another": () => {
    const model = sampleTarget({ service_name: "model", service_type: "fs-only", nsgroup: "web" });
    const user = sampleTarget({ service_name: "user", mounts: [{ service: "model", dest: "/opt/model" }] });
    const other = sampleTarget({ service_name: "other" });
    return sampleInput(sampleManifest({ targets: [user, other, model] }));
  },

  "limits-and-hardening": () => {
    const limited = sampleTarget({
      service_name: "limited",
      limits: {
        memory: 512,
        cpus: 1.5,
        pids: 100,
        io_weight: 50,
        io_read: 20,
        io_write: 5,
        open_files: 1024,
        scratch: 8,
      },
      security: {
        capabilities: { add: ["NET_RAW", "SYS_TIME"], drop: ["CHOWN", "SETUID"] },
        seccomp: "unconfined",
        no_new_privileges: false,
        read_only: true,
        devices: [{ path: "/dev/ttyS0" }, { path: "/dev/bus/usb/001", access: "r" }],
      },
    });
    const without = sampleTarget({
      service_name: "without-capabilities",
      security: {
        capabilities: {
          drop: [
            ...(["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL"] as const),
            ...(["NET_BIND_SERVICE", "SETGID", "SETUID"] as const),
          ],
        },
        seccomp: "default",
        no_new_privileges: true,
        read_only: false,
      },
    });
    return sampleInput(sampleManifest({ targets: [limited, without] }));
  },

  "paths-that-stay-read-only": () => {
    const target = sampleTarget({
      security: { read_only_paths: ["/etc/ssl", "/etc/web.conf", "/opt/a+b/é"] },
    });
    return sampleInput(sampleManifest({ targets: [target] }));
  },

  "order-and-life": () => {
    const health = { interval: 2, timeout: 5, retries: 3, start_period: 0, required: true };
    const db = sampleTarget({ service_name: "db", health: { exec: ["/bin/ready"], ...health } });
    const migrate = sampleTarget({
      service_name: "migrate",
      run: { mode: "once", start_timeout: 600 },
      depends_on: [{ service: "db", condition: "healthy" }],
    });
    const web = sampleTarget({
      run: {
        ...{ restart: "always", start_timeout: 60, stop_timeout: 20 },
        pre_stop: ["/bin/drain", "100% of $HOME", 'quo"te'],
      },
      depends_on: [
        { service: "db", condition: "started" },
        { service: "migrate", condition: "completed" },
      ],
    });
    const alive = sampleTarget({ service_name: "alive", run: { watchdog: 30 } });
    const never = sampleTarget({ service_name: "never", run: { restart: "never" } });
    return sampleInput(sampleManifest({ targets: [db, migrate, web, never, alive] }));
  },

  "image-overrides": () => {
    const target = sampleTarget({
      image: {
        entrypoint: ["/bin/sh", "-c"],
        cmd: ["exec $1 100%", "a\nExecStart=/bin/evil", ""],
        env: ["A=mine", "B=$PATH %n\n[Service]"],
        user: "1000:33",
        working_dir: "/srv",
        stop_signal: "SIGQUIT",
      },
    });
    const config = {
      config: {
        ...{ Entrypoint: ["/own"], Cmd: ["own"], Env: ["A=own", "C=own"] },
        ...{ User: "own", WorkingDir: "/own", StopSignal: "SIGTERM" },
      },
    };
    return sampleInput(sampleManifest({ targets: [target] }), [{ ...sampleImage(target), config }]);
  },

  "configuration-files": () =>
    sampleInput(
      sampleManifest({
        targets: [
          sampleTarget({
            files: [
              { dest: "/etc/web.conf", content: "listen 80;\n[Service]\nExecStart=/bin/evil %n $HOME\\\n" },
              { dest: "/usr/local/bin/hook", content: "#!/bin/sh\nexit 0\n", executable: true },
            ],
          }),
        ],
      }),
    ),

  "ports-and-names": () => {
    const dns = sampleTarget({
      service_name: "dns",
      network: {
        ...{ ...simple, ipv4: "10.0.3.5/24", ipv6: "fd00:3::5/64" },
        ports: [
          { host: 53, container: 53, protocol: "udp" },
          { host: 53, container: 53, protocol: "tcp", address: "192.0.2.1" },
          { host: 5000, container: 6000, address: "2001:db8::1", count: 10 },
        ],
      },
    });
    const web = sampleTarget({
      network: { ...simple, ipv4: "10.0.3.6/24", dns: ["192.0.2.53", "2001:db8::53"], hosts: ["dns"] },
    });
    return sampleInput(sampleManifest({ targets: [dns, web] }));
  },

  "names-without-fixed-addresses": () => {
    const db = sampleTarget({ service_name: "db", network: simple });
    const web = sampleTarget({ network: { ...simple, ipv6: "auto", hosts: ["db"] } });
    const fixed = sampleTarget({
      service_name: "fixed",
      network: { ...simple, ipv4: "198.18.0.7/15", hosts: ["web"] },
    });
    return sampleInput(sampleManifest({ targets: [db, web, fixed] }));
  },

  "volume-whose-size-holds": () => {
    const storage = [
      { dest: "/data", label: "my-data" },
      { dest: "/shared", label: "shared", read_only: true },
    ];
    return sampleInput(
      sampleManifest({
        targets: [sampleTarget({ storage })],
        storage: [
          { label: "my-data", persistent: true, nsgroup: "web", size: 1024, enforce: true },
          { label: "shared", persistent: true, nsgroup: "web", size: 64 },
        ],
      }),
    );
  },

  "ephemeral-job": () =>
    sampleInput(
      sampleManifest({
        targets: [sampleTarget({ service_name: "job", run: { mode: "ephemeral", deadline: 7200 } })],
      }),
    ),
} satisfies Record<string, () => RenderInput>;
