/** A bounded map that forgets what was used longest ago. */
export interface Memo<V> {
  get(key: string): V | undefined
  set(key: string, value: V): void
  readonly size: number
}

/** A {@link Memo} of at most `entriesMax` entries; a Map keeps the order of insertion, so the first key is the oldest. */
export const createMemo = <V>(entriesMax: number): Memo<V> => {
  const entries = new Map<string, V>()
  return {
    get(key) {
      const found = entries.get(key)
      if (found === undefined) return undefined
      entries.delete(key)
      entries.set(key, found)
      return found
    },
    set(key, value) {
      entries.delete(key)
      entries.set(key, value)
      if (entries.size <= entriesMax) return
      const oldest = entries.keys().next()
      if (!oldest.done) entries.delete(oldest.value)
    },
    get size() {
      return entries.size
    },
  }
}
