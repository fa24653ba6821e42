// How a verified attestation looks, for machines and for people.
import type { ExplainedPcr } from "../../attest/explain.ts";
import type { Verdict } from "../../attest/verify.ts";
import { type Cell, keyValues, table } from "../output.ts";
import { releaseText } from "../release-text.ts";
import type { OutputStream } from "../terminal.ts";

/** What `--json` prints. */
export function verdictDocument({ device, attestationKey, applied, pcrs, boot, closed, logs, tpm }: Verdict) {
  const { certificate, issuer } = device;
  return {
    verified: true,
    product: device.product,
    machine: device.machine,
    certificate: {
      subject: certificate.subject.text,
      fingerprint: certificate.fingerprint,
      issuer: issuer.subject.text,
    },
    attestationKey,
    applied:
      applied === undefined
        ? null
        : {
            generation: applied.number,
            manifestDigest: applied.manifestDigest,
            product: applied.product,
            serial: applied.serial,
            epoch: applied.epoch,
            signers:
              applied.signers?.map(({ subject, fingerprint, keyId, anchor }) => ({
                ...{ subject, fingerprint, keyId },
                anchor: anchor.subject,
              })) ?? null,
          },
    secureBoot: boot.secureBoot,
    vouched: boot.vouched,
    closed: closed ?? null,
    pcrs: pcrs.map(({ pcr, value, by, beforeClosing }) => ({ pcr, value, explainedBy: by, beforeClosing })),
    logs,
    tpm: {
      clockMs: Number(tpm.clock),
      resetCount: tpm.resetCount,
      restartCount: tpm.restartCount,
    },
  };
}

function secureBootCell({ boot }: Verdict): Cell {
  const cells = {
    enabled: { text: "on", look: "green" },
    disabled: { text: "off", look: "red" },
    unverified: { text: "not proved: there is no event log", look: "yellow" },
  } as const;
  return cells[boot.secureBoot];
}

function closedCell({ closed }: Verdict): Cell {
  if (closed === undefined) return { text: "not proved whether it was closed", look: "yellow" };
  return closed
    ? { text: "closed: the system cannot read the TPM's secrets", look: "green" }
    : { text: "OPEN: what runs may be able to read the TPM's secrets", look: "red" };
}

/** What the logs are good for, of one PCR. */
function explanationCell({ by, closed }: ExplainedPcr): Cell {
  const suffix = closed === true ? ", and the closing" : "";
  switch (by) {
    case "nothing":
      return "never extended";
    case "firmware":
      return `the firmware's log${suffix}`;
    case "systemd":
      return `the firmware's and systemd's logs${suffix}`;
    case "nobody":
      return { text: "nobody", look: "yellow" };
  }
}

function appliedRows({ applied }: Verdict): readonly [string, Cell | undefined][] {
  if (applied === undefined) return [["applied", "nothing"]];
  const signers =
    applied.signers === undefined
      ? [{ text: "not checked (--manifest-ca FILE)", look: "yellow" } as const]
      : applied.signers.map(({ subject, anchor }) => `${subject}, vouched for by ${anchor.subject}`);
  return [
    ["applied", `generation ${applied.number} of the product ${applied.product}`],
    ["manifest", applied.manifestDigest],
    ["release", releaseText(applied)],
    ...signers.map((cell): [string, Cell] => ["signed by", cell]),
  ];
}

/** What a person gets to see. */
export function verdictText(stdout: OutputStream, verdict: Verdict): string {
  const { device, attestationKey, boot, pcrs, logs, tpm } = verdict;
  const block = keyValues(stdout, [
    ["product", device.product],
    ["machine", device.machine],
    ["certificate", `${device.certificate.fingerprint} (${device.issuer.subject.text})`],
    ["TPM's key", attestationKey],
    ["TPM's clock", `powered for ${Math.floor(Number(tpm.clock) / 1000)} s since it was cleared`],
    ...appliedRows(verdict),
    ["Secure Boot", secureBootCell(verdict)],
    ...boot.vouched.map(({ text, fingerprint = "" }): [string, Cell] => [
      "started",
      `${text} ${fingerprint}`.trimEnd(),
    ]),
    ["PCR 7", closedCell(verdict)],
    ["systemd's log", logs.systemd === "read" ? undefined : logs.systemd],
  ]);
  const rows = pcrs.map((one) => [String(one.pcr), one.value, explanationCell(one)]);
  return `Verified.\n\n${block}\n${table(stdout, ["PCR", "SHA-256", "EXPLAINED BY"], rows)}`;
}
