/** The users of `nats.conf`, and the environment variable that carries each one's password. */
export const NATS_PASSWORD_VARIABLES = {
  'kms-front': 'KMS_FRONT_PASSWORD',
  'kms-ledger': 'KMS_LEDGER_PASSWORD',
  provision: 'KMS_PROVISION_PASSWORD',
  auditor: 'KMS_AUDITOR_PASSWORD',
  app: 'KMS_APP_PASSWORD',
  app2: 'KMS_APP2_PASSWORD',
} as const

/** A user of `nats.conf`. */
export type NatsUser = keyof typeof NATS_PASSWORD_VARIABLES

/** What `nats.conf` leaves open. */
export interface NatsSettings {
  readonly host: string
  /** 0 to 65535; -1 lets the server choose. */
  readonly port: number
  readonly monitorPort: number
  readonly storeDir: string
  readonly passwords: Readonly<Record<NatsUser, string>>
}

/** The users by name. */
export const NATS_USERS: readonly NatsUser[] = ['kms-front', 'kms-ledger', 'provision', 'auditor', 'app', 'app2']

/**
 * The environment that `nats.conf` reads. The server parses each value as a value of its configuration language: strings
 * are quoted, so that a path with a space or a password of digits stays a string. Throws on a quote or a line break.
 */
export const toNatsEnvironment = (settings: NatsSettings): Readonly<Record<string, string>> => ({
  KMS_NATS_HOST: quote(settings.host),
  KMS_NATS_PORT: String(settings.port),
  KMS_NATS_MONITOR_PORT: String(settings.monitorPort),
  KMS_NATS_STORE_DIR: quote(settings.storeDir),
  ...Object.fromEntries(NATS_USERS.map((user) => [NATS_PASSWORD_VARIABLES[user], quote(settings.passwords[user])])),
})

const quote = (text: string): string => {
  if (/['\r\n]/.test(text)) throw new RangeError('a value for nats.conf has a quote or a line break')
  return `'${text}'`
}
