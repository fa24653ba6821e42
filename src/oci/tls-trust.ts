// Which certificate authorities a registry's certificate may lead to.
import { getCACertificates } from "node:tls";

/**
 * Those that are given, or those of this system: Debian's list, where an operator adds and removes authorities.
 * Undefined when the system has none; then it is Node's own list.
 * @param ca PEM
 */
export function trustedAuthorities(ca: string | undefined): string[] | undefined {
  const authorities = ca === undefined ? getCACertificates("system") : [ca];
  return authorities.length === 0 ? undefined : authorities;
}
