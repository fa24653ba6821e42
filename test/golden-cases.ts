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
          },
        },
      },
    ]);
  },
} satisfies Record<string, () => RenderInput>;
