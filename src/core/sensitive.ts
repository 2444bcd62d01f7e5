import { must } from './result.ts'

const REDACTED = '[sensitive]'

/**
 * Secret bytes with one owner. Takes ownership of the array it is given (no copy is made), shows itself redacted in
 * every rendering, and zeroes the array once, when disposed. Reading is the greppable word `expose`.
 * Not promised: that V8 has made no copy elsewhere; strings made from the bytes are never zeroed.
 */
export class Sensitive implements Disposable {
  #bytes: Uint8Array | undefined
  readonly length: number

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.length = bytes.length
  }

  /** The live bytes, still owned by this object: do not keep them past its disposal. */
  expose(): Uint8Array {
    must(this.#bytes !== undefined, 'a disposed Sensitive was read')
    return this.#bytes
  }

  [Symbol.dispose](): void {
    this.#bytes?.fill(0)
    this.#bytes = undefined
  }

  get isDisposed(): boolean {
    return this.#bytes === undefined
  }

  toString(): string {
    return REDACTED
  }

  toJSON(): string {
    return REDACTED
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED
  }
}

/** Disposes every {@link Sensitive} among the own members of `holder`, one level deep; for `using` on an instruction or output. */
export const owning = (holder: object): Disposable => ({
  [Symbol.dispose]() {
    for (const member of Object.values(holder)) if (member instanceof Sensitive) member[Symbol.dispose]()
  },
})
