import type { Config } from '../../schemas/config.ts'

/**
 * The rules between fields that a schema cannot say: names that must agree, and TLS wherever something leaves the
 * machine. Gives the first that is broken, as `field: rule`.
 */
export const findConfigFault = (config: Config): string | undefined =>
  findHsmFault(config.hsm) ??
  findNatsFault(config.nats) ??
  findLedgerFault(config.ledger) ??
  findHttpFault(config.http) ??
  findAuthnFault(config.authn)

const findHsmFault = ({ backends, ledger_backend, allowed_libraries, pin_dir }: Config['hsm']): string | undefined => {
  const ids = backends.map(({ id }) => id)
  const twice = ids.findIndex((id, at) => ids.indexOf(id) !== at)
  if (twice >= 0) return `hsm.backends.${twice}.id: is used twice`
  const places = backends.map(({ lib_path, token_label }) => JSON.stringify([lib_path, token_label]))
  const shared = places.findIndex((place, at) => places.indexOf(place) !== at)
  if (shared >= 0) return `hsm.backends.${shared}.token_label: the token is another backend's already`
  if (allowed_libraries.length > 0 && pin_dir === undefined)
    return 'hsm.pin_dir: is needed where there are allowed_libraries'
  if (!ids.includes(ledger_backend)) return 'hsm.ledger_backend: must be the id of one of hsm.backends'
  return undefined
}

const findNatsFault = (nats: Config['nats']): string | undefined => {
  if (nats.tls !== undefined && (nats.tls.cert_file === undefined) !== (nats.tls.key_file === undefined)) {
    return 'nats.tls: cert_file and key_file go together'
  }
  const open = nats.servers.findIndex((server) => !isLoopbackHost(new URL(server).hostname))
  if (open >= 0 && nats.tls === undefined && !nats.allow_plaintext) {
    return `nats.servers.${open}: is not on loopback: set nats.tls (or nats.allow_plaintext on a network of your own)`
  }
  return undefined
}

const findLedgerFault = ({ anchors }: Config['ledger']): string | undefined => {
  const { stream, witnesses, required, required_witnesses } = anchors
  if (stream !== undefined && (stream.servers === undefined) !== (stream.password_file === undefined))
    return 'ledger.anchors.stream: servers and password_file go together'
  if (stream?.servers === undefined && stream?.tls !== undefined)
    return 'ledger.anchors.stream.tls: is for servers of its own'
  const open = stream?.servers?.findIndex((server) => !isLoopbackHost(new URL(server).hostname)) ?? -1
  if (open >= 0 && stream?.tls === undefined)
    return `ledger.anchors.stream.servers.${open}: is not on loopback: set ledger.anchors.stream.tls`
  const count = 1 + Number(stream !== undefined) + witnesses.length
  if (required > count) return `ledger.anchors.required: there are only ${count} anchors`
  if (required_witnesses > witnesses.length)
    return `ledger.anchors.required_witnesses: there are only ${witnesses.length} witnesses`
  for (const [at, { url }] of witnesses.entries())
    if (!URL.canParse(url) || (new URL(url).protocol !== 'https:' && !isLoopbackHost(new URL(url).hostname)))
      return `ledger.anchors.witnesses.${at}.url: must be https, or on loopback`
  return undefined
}

const findHttpFault = (http: Config['http']): string | undefined => {
  if (!isLoopbackHost(http.host) && http.tls === undefined && !http.allow_plaintext) {
    return 'http.host: is not loopback: set http.tls (or http.allow_plaintext behind something that ends TLS)'
  }
  if (http.admin !== undefined && http.admin.port === http.port) return 'http.admin.port: must differ from http.port'
  return undefined
}

const findAuthnFault = ({ chain }: Config['authn']): string | undefined => {
  // The chain chooses by the kind of the credential, so a second of a kind would never be asked.
  for (const kind of ['bootstrap_token', 'jwt'] as const)
    if (chain.filter((one) => one.kind === kind).length > 1) return `authn.chain: only one ${kind}`
  for (const [at, one] of chain.entries()) {
    if (one.kind !== 'jwt') continue
    if (!URL.canParse(one.jwks_url)) return `authn.chain.${at}.jwks_url: is not a URL`
    const url = new URL(one.jwks_url)
    if (url.protocol !== 'https:' && !isLoopbackHost(url.hostname)) {
      return `authn.chain.${at}.jwks_url: must be https, or on loopback`
    }
  }
  return undefined
}

/** Whether a host name or address means this machine only. */
export const isLoopbackHost = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
