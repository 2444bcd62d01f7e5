/** A path pattern of a route, with `:name` segments, and its method. */
export interface Served {
  readonly method: string
  readonly path: string
}

/** The methods that the service has for a path, sorted; empty when it has none: METHOD_NOT_ALLOWED against NOT_FOUND. */
export const createAllowedMethods = (served: readonly Served[]): ((path: string) => readonly string[]) => {
  const patterns = served.map(({ method, path }) => ({
    method,
    pattern: new RegExp(`^${path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:[a-z_]+/g, '[^/]+')}$`),
  }))
  return (path) => {
    const methods = patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)
    return [...new Set(methods)].sort()
  }
}
