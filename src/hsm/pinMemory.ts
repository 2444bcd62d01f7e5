const refusedMax = 64

/** The PINs that one token refused, by the mark of their source: a token counts wrong ones and locks. */
export interface PinMemory {
  isRefused(mark: string): boolean
  noteRefused(mark: string): void
}

/** Bounded; the oldest is forgotten first. It lives as long as the service, whichever backends come and go. */
export const createPinMemory = (): PinMemory => {
  const refused = new Set<string>()
  return {
    isRefused: (mark) => refused.has(mark),
    noteRefused(mark) {
      refused.delete(mark)
      refused.add(mark)
      const [oldest] = refused
      if (refused.size > refusedMax && oldest !== undefined) refused.delete(oldest)
    },
  }
}
