// From a signing certificate to a trust anchor (RFC 5280 section 6, as far as mos needs it). Pure: the anchors
// and the time are given. A certificate whose issuer is found by name and key must satisfy every rule; what an
// issuer breaks is reported by its own code, before "no way to an anchor" is.
import { MosError } from "../errors/mos-error.ts";
import { type Certificate, isIssuedBy, keyIdOf, namesIssuer } from "./certificate.ts";
import { codeSigning } from "./certificate-extensions.ts";

/**
 * Against what the dates of certificates are held.
 * `at`: when a manifest is applied. `ignore`: at boot, for what was applied before: installed content never
 * expires, or a device that was switched off too long, or whose clock battery died, could not boot again.
 */
export type ValidityTime =
  | { readonly kind: "at"; readonly date: Date; readonly source: string }
  | { readonly kind: "ignore" };

/** A CA certificate that is trusted as it is. */
export interface Anchor {
  readonly certificate: Certificate;
  /** Where it is from, for example `file:/etc/mos/manifestCA.pem`: reported as what vouched. */
  readonly source: string;
}

export interface Chain {
  readonly leaf: Certificate;
  readonly anchor: Anchor;
  /** Leaf first, then its issuers; the anchor's certificate is the last. */
  readonly path: readonly Certificate[];
}

interface ChainInput {
  readonly leaf: Certificate;
  readonly intermediates: readonly Certificate[];
  readonly anchors: readonly Anchor[];
  /** SHA-256 (hex) of certificates and of public keys that may not be anywhere in a chain. */
  readonly revoked: ReadonlySet<string>;
  readonly time: ValidityTime;
}

/** Issuers above the leaf, the anchor included. */
const maxDepth = 4;

/** Certificates may be arranged so that a search never ends; an honest chain needs one check per issuer. */
const maxSignatureChecks = 64;

function expiryProblem(certificate: Certificate, time: ValidityTime): MosError | undefined {
  if (time.kind === "ignore") return undefined;
  const about = certificate.subject.text;
  const now = `${time.source} says ${time.date.toISOString()}`;
  if (time.date < certificate.notBefore) {
    const from = certificate.notBefore.toISOString();
    return new MosError(
      "certificate-not-yet-valid",
      `cannot use a certificate before ${from}, when it becomes valid: ${now}`,
      { about },
    );
  }
  if (time.date > certificate.notAfter) {
    const until = certificate.notAfter.toISOString();
    return new MosError("certificate-expired", `cannot use a certificate that expired on ${until}: ${now}`, {
      about,
    });
  }
  return undefined;
}

function revocationProblem(certificate: Certificate, revoked: ReadonlySet<string>): MosError | undefined {
  const found = [certificate.fingerprint, keyIdOf(certificate)].find((id) => revoked.has(id));
  if (found === undefined) return undefined;
  const about = certificate.subject.text;
  return new MosError("certificate-revoked", `cannot accept ${about}: ${found} was revoked`, { about });
}

/** What forbids a certificate to be the signer of a manifest. */
function leafProblem({ leaf, anchors, revoked }: ChainInput): MosError | undefined {
  const { isCa, keyUsage, extendedKeyUsage } = leaf.permissions;
  const refuse = (why: string): MosError =>
    new MosError("chain-constraint", `cannot accept the signing certificate: ${why}`, {
      about: leaf.subject.text,
    });
  if (anchors.some((anchor) => anchor.certificate.fingerprint === leaf.fingerprint)) {
    return refuse("it is itself the trust anchor, and an anchor only issues certificates");
  }
  if (isCa) return refuse("it is a CA certificate, and those only issue certificates");
  if (keyUsage !== undefined && !keyUsage.has("digitalSignature")) {
    return refuse("its keyUsage does not include digitalSignature");
  }
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.includes(codeSigning)) {
    return refuse("its extendedKeyUsage does not include codeSigning");
  }
  return revocationProblem(leaf, revoked);
}

/**
 * What forbids a certificate to issue the ones below it.
 * @param casBelow how many CA certificates stand between it and the leaf
 */
function issuerProblem(
  issuer: Certificate,
  casBelow: number,
  { revoked, time }: ChainInput,
): MosError | undefined {
  const { isCa, pathLength, keyUsage, extendedKeyUsage } = issuer.permissions;
  const about = issuer.subject.text;
  const refuse = (why: string): MosError =>
    new MosError("chain-constraint", `cannot accept an issuer of the signing certificate: ${why}`, { about });
  if (!isCa) {
    return new MosError("chain-not-ca", "cannot accept a certificate that was issued by one that is no CA", {
      about,
    });
  }
  if (keyUsage !== undefined && !keyUsage.has("keyCertSign")) {
    return refuse("its keyUsage does not include keyCertSign");
  }
  if (pathLength !== undefined && casBelow > pathLength) {
    return refuse(`it allows ${pathLength} CA certificates below it, and there are ${casBelow}`);
  }
  // A CA with purposes issues for those only: what OpenSSL, Go and the CA/Browser Forum make of section 4.2.1.12.
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.includes(codeSigning)) {
    return refuse("its extendedKeyUsage does not include codeSigning");
  }
  return revocationProblem(issuer, revoked) ?? expiryProblem(issuer, time);
}

class Search {
  private readonly input: ChainInput;
  private checks = 0;
  private problem: MosError | undefined;

  constructor(input: ChainInput) {
    this.input = input;
  }

  run(): Chain {
    const chain = this.extend([this.input.leaf], this.input.leaf);
    if (chain !== undefined) return chain;
    throw this.problem ?? this.untrusted("no trust anchor has this name", this.input.leaf);
  }

  private untrusted(why: string, certificate: Certificate): MosError {
    const issuer = certificate.issuer.text;
    return new MosError(
      "chain-untrusted",
      `cannot trust ${certificate.subject.text}: its issuer is "${issuer}", and ${why}`,
      { about: certificate.subject.text },
    );
  }

  /** What an issuer broke says more than that no anchor was reached, and the first of its kind most. */
  private note(problem: MosError): undefined {
    const weak = this.problem === undefined || this.problem.code === "chain-untrusted";
    if (weak && (this.problem === undefined || problem.code !== "chain-untrusted")) this.problem = problem;
    return undefined;
  }

  private isSigner(certificate: Certificate, candidate: Certificate): boolean {
    if (++this.checks > maxSignatureChecks) {
      throw this.untrusted(`the way to it was not found in ${maxSignatureChecks} attempts`, certificate);
    }
    return isIssuedBy(certificate, candidate);
  }

  private extend(path: readonly Certificate[], top: Certificate): Chain | undefined {
    if (path.length > maxDepth) return this.note(this.untrusted("the chain is too long", top));
    let named = false;
    const accept = (issuer: Certificate): boolean => {
      if (!namesIssuer(top, issuer)) return false;
      named = true;
      if (!this.isSigner(top, issuer)) return false;
      const problem = issuerProblem(issuer, path.length - 1, this.input);
      if (problem !== undefined) this.note(problem);
      return problem === undefined;
    };
    for (const anchor of this.input.anchors) {
      if (!accept(anchor.certificate)) continue;
      return { leaf: this.input.leaf, anchor, path: [...path, anchor.certificate] };
    }
    for (const issuer of this.input.intermediates) {
      if (path.includes(issuer) || !accept(issuer)) continue;
      const chain = this.extend([...path, issuer], issuer);
      if (chain !== undefined) return chain;
    }
    return this.note(
      this.untrusted(
        named ? "the certificate of that name has another key" : "no trust anchor has this name",
        top,
      ),
    );
  }
}

/**
 * Finds the way from the leaf to an anchor on which every rule holds. Anchors come first, in their order.
 * @throws MosError `chain-untrusted`, `chain-not-ca`, `chain-constraint`, `certificate-revoked`,
 * `certificate-expired`, `certificate-not-yet-valid`
 */
export function verifyChain(input: ChainInput): Chain {
  const forbidden = leafProblem(input);
  if (forbidden !== undefined) throw forbidden;
  const chain = new Search(input).run();
  // Last, because the dates of a certificate that nobody vouches for mean nothing.
  const expired = expiryProblem(input.leaf, input.time);
  if (expired !== undefined) throw expired;
  return chain;
}
