// Is this attestation the device's, fresh, and does it show what is expected? Pure: a document and expectations in, a
// verdict or a refusal out. The steps are in an order in which each stands on the ones before it: who speaks, whether
// the words are the TPM's and answer this nonce, what the logs explain of the values, and then what they say.
import { extendPcr } from "../efi/bank.ts";
import { parseEventLog } from "../efi/event-log.ts";
import { closingDigest } from "../provision/close-pcr7.ts";
import { secureBootPcr } from "../provision/policies.ts";
import type { QuoteStatement } from "../tpm/attest.ts";
import { selectPcrs } from "../tpm/pcr-selection.ts";
import { verifyQuote } from "../tpm/quote.ts";
import type { Certificate } from "../trust/certificate.ts";
import { type Applied, type AppliedExpectations, verifyApplied } from "./applied.ts";
import { type AttestationKey, readAttestationKey } from "./attestation-key.ts";
import { type Device, verifyBinding, verifyDevice } from "./device.ts";
import { type Attestation, quotedPcrs } from "./document.ts";
import { type ExplainedPcr, explainQuotedPcrs } from "./explain.ts";
import { type MeasuredBoot, readMeasuredBoot, unknownBoot } from "./measured-boot.ts";
import type { Nonce } from "./nonce.ts";
import { refusal, within } from "./refusal.ts";
import { bindingStatement, qualifyingData } from "./statements.ts";
import { parseSystemdLog } from "./systemd-log.ts";

export interface Expectations extends AppliedExpectations {
  /** What the verifier asked with. */
  readonly nonce: Nonce;
  /** CAs that give devices their certificates. */
  readonly deviceCas: readonly [Certificate, ...Certificate[]];
  readonly now: Date;
  readonly product?: string | undefined;
  readonly machine?: string | undefined;
  /** Name of the attestation key that an earlier attestation of this device had, hex. */
  readonly attestationKey?: string | undefined;
  /** PCR → 64 lower-case hex digits; for PCR 7 its value before it was closed. */
  readonly pcrs: ReadonlyMap<number, string>;
  /** Secure Boot was on. */
  readonly requireSecureBoot: boolean;
  /** PCR 7 was extended before the system was started, so that the TPM's secrets are out of its reach. */
  readonly requireClosed: boolean;
}

/** What was proved, and what was only said. */
export interface Verdict {
  readonly device: Device;
  /** Name of the attestation key, hex: the same as long as the TPM is, and is not provisioned anew. */
  readonly attestationKey: string;
  readonly applied: Applied | undefined;
  readonly pcrs: readonly ExplainedPcr[];
  readonly boot: MeasuredBoot;
  /** Whether PCR 7 was closed; undefined when no log says from which value. */
  readonly closed: boolean | undefined;
  readonly logs: {
    readonly firmware: "read" | "absent";
    readonly systemd: "read" | "absent" | "unreadable";
  };
  /**
   * The TPM's own counters: `clock` is how long it has been powered since it was cleared, in milliseconds. The other
   * two begin anywhere, as with every key that is not of the endorsement hierarchy (TPM 2.0 Part 2, TPMS_ATTEST):
   * only their differences say something.
   */
  readonly tpm: Pick<QuoteStatement, "clock" | "resetCount" | "restartCount">;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function checkQuote(attestation: Attestation, { key }: AttestationKey, asked: Uint8Array): QuoteStatement {
  const { quote, pcrs } = attestation;
  return within("quote", () => verifyQuote(quote, key, asked, selectPcrs("sha256", quotedPcrs), pcrs));
}

function checkIdentity(device: Device, name: string, expected: Expectations): void {
  const { product, machine, attestationKey } = expected;
  if (product !== undefined && device.product !== product) {
    throw refusal("product", `it is of a device of the product ${device.product}, not ${product}`);
  }
  if (machine !== undefined && device.machine !== machine) {
    throw refusal("machine", `it is of the machine ${device.machine}, not ${machine}`);
  }
  if (attestationKey !== undefined && attestationKey !== name) {
    throw refusal(
      "attestation-key",
      "it was signed by another key: the TPM was replaced, or provisioned anew",
    );
  }
}

/**
 * The firmware's own PCRs have to be what its log says. The others may have been extended by programs that keep no
 * log; they are reported as explained by nobody.
 */
function checkLog(pcrs: readonly ExplainedPcr[]): void {
  const unexplained = pcrs.filter(({ pcr, by }) => pcr <= secureBootPcr && by === "nobody");
  if (unexplained.length === 0) return;
  const numbers = unexplained.map(({ pcr }) => pcr).join(", ");
  throw refusal("event-log", `its event log does not lead to the values of the PCRs ${numbers}`);
}

/** Where no log says what PCR 7 was before it was closed, the expected value does. */
function isExpected({ pcr, value, beforeClosing }: ExplainedPcr, expected: string): boolean {
  if (pcr !== secureBootPcr) return value === expected;
  if (beforeClosing !== undefined) return beforeClosing === expected;
  return (
    value === expected || value === hex(extendPcr("sha256", Buffer.from(expected, "hex"), closingDigest))
  );
}

function checkPcrs(pcrs: readonly ExplainedPcr[], expected: ReadonlyMap<number, string>): void {
  for (const [number, value] of expected) {
    const found = pcrs.find(({ pcr }) => pcr === number);
    if (found === undefined) throw refusal("pcr", `PCR ${number} is not one of those that are quoted`);
    if (isExpected(found, value)) continue;
    throw refusal("pcr", `PCR ${number} is ${found.beforeClosing ?? found.value}, not ${value}`);
  }
}

function checkBoot(boot: MeasuredBoot, closed: boolean | undefined, expected: Expectations): void {
  if (expected.requireSecureBoot && boot.secureBoot !== "enabled") {
    const why = {
      disabled: "it was started without Secure Boot",
      unverified: "nothing proves that it was started under Secure Boot",
    } as const;
    throw refusal("secure-boot", why[boot.secureBoot]);
  }
  if (expected.requireClosed && closed !== true) {
    const why = closed === false ? "PCR 7 was not closed" : "nothing proves that PCR 7 was closed";
    throw refusal("closed", `${why}: what runs on the device may be able to read the TPM's secrets`);
  }
}

/**
 * Verifies an attestation.
 * @throws MosError `attestation-refused`; its `about` is the {@link Check} that failed
 */
export function verifyAttestation(attestation: Attestation, expected: Expectations): Verdict {
  const { nonce, generation } = attestation;
  const device = verifyDevice(attestation.device.certificates, expected.deviceCas, expected.now);
  const key = readAttestationKey(attestation.attestationKey);
  if (Buffer.compare(nonce, expected.nonce) !== 0) throw refusal("nonce", "it answers another nonce");
  const asked = qualifyingData(expected.nonce, generation, key.name);
  verifyBinding(device, bindingStatement(key.name, asked), attestation.device.binding);
  const { clock, resetCount, restartCount } = checkQuote(attestation, key, asked);
  const name = hex(key.name);
  checkIdentity(device, name, expected);

  const { firmwareLog, systemdLog } = attestation;
  const firmware =
    firmwareLog === undefined
      ? undefined
      : within("event-log", () => parseEventLog(firmwareLog, "the event log"));
  const systemd = systemdLog === undefined ? undefined : parseSystemdLog(systemdLog);
  const pcrs = explainQuotedPcrs(attestation.pcrs, { firmware, systemd: systemd ?? [] });
  if (firmware !== undefined) checkLog(pcrs);
  const boot = firmware === undefined ? unknownBoot : readMeasuredBoot(firmware);
  checkPcrs(pcrs, expected.pcrs);
  const closed = pcrs.find(({ pcr }) => pcr === secureBootPcr)?.closed;
  checkBoot(boot, closed, expected);

  const source = "the device's certificate";
  const applied = verifyApplied(generation, expected, { product: device.product, source });
  return {
    device,
    attestationKey: name,
    applied,
    pcrs,
    boot,
    closed,
    logs: {
      firmware: firmware === undefined ? "absent" : "read",
      systemd: systemdLog === undefined ? "absent" : systemd === undefined ? "unreadable" : "read",
    },
    tpm: { clock, resetCount, restartCount },
  };
}
