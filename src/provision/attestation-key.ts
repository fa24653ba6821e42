// The key with which a device's TPM makes statements about itself.

/** In the range of the owner's signing keys (TCG Registry of Reserved TPM 2.0 Handles, section 2.3.1). */
export const attestationKeyHandle = 0x81010020;
