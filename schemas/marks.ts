/** The annotation that marks a schema node as bytes: base64 in JSON, `bin` in MessagePack, `Uint8Array` inside. */
export const BYTES_MARK = 'x-bytes-max'

/**
 * The annotation that lists the variants of an object where a check must let more pass than they allow; each is told by
 * the constant that its {@link VARIANT_FIELD} must be.
 */
export const VARIANTS_MARK = 'x-variants'
export const VARIANT_FIELD = 'operation'
