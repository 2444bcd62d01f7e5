/** What of a NATS connection says whether it is up. */
export interface ConnectionStatus {
  status(): AsyncIterable<{ readonly type: string }>
}

/** Zeroes encoded bodies once nats.js has copied them. */
export interface Zeroing {
  /** To be called right after `publish`. */
  onceSent(encoded: Uint8Array): void
}

/**
 * `publish` keeps a reference; a microtask that it queued then packs all pending buffers into one fresh frame for the
 * socket, which cannot be reached from here. A microtask queued after `publish` therefore runs when the copy is made.
 * While disconnected nothing is packed: what is published then goes out after the reconnect, and is zeroed after that.
 */
export const createZeroing = (connection: ConnectionStatus): Zeroing => {
  let isConnected = true
  const waiting: Uint8Array[] = []
  const zeroWaiting = () => {
    for (const bytes of waiting.splice(0)) bytes.fill(0)
  }
  const watch = async (): Promise<void> => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect') isConnected = false
      if (type !== 'reconnect') continue
      isConnected = true
      zeroWaiting()
    }
  }
  void watch().finally(zeroWaiting)
  return {
    onceSent: (encoded) => {
      if (!isConnected) waiting.push(encoded)
      else queueMicrotask(() => encoded.fill(0))
    },
  }
}
