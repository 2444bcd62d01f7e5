/** Lets at most so many through at a time, in the order in which they came. */
export interface Turnstile {
  enter(): Promise<void>
  leave(): void
}

export const createTurnstile = (insideMax: number): Turnstile => {
  const outside: (() => void)[] = []
  let inside = 0
  return {
    enter() {
      if (inside < insideMax) {
        inside += 1
        return Promise.resolve()
      }
      return new Promise((resolve) => void outside.push(resolve))
    },
    leave() {
      const next = outside.shift()
      if (next === undefined) inside -= 1
      else next()
    },
  }
}
