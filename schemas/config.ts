import Type, { type Static } from 'typebox'
import { File, Host, Name, natsUser, Port, Switch, Url } from './configFields.ts'
import { Ledger } from './configLedger.ts'
import { LIMITS } from './limits.ts'
import { BackendId, Fields, OneOf } from './primitives.ts'

const Nats = Fields(
  {
    servers: Type.Array(Type.String({ pattern: '^(nats|tls)://[^\\s/]+$', maxLength: LIMITS.configPathCharsMax }), {
      minItems: 1,
      maxItems: LIMITS.natsServersMax,
      description:
        'The servers of one cluster, tried in turn: `nats://host:port` or `tls://host:port`. Outside loopback `tls` is a must.',
    }),
    front: natsUser('kms-front', 'The connection that hears requests and publishes nothing but replies.'),
    ledger: natsUser('kms-ledger', 'The connection that appends to the ledger and reads it; it hears no request.'),
    provision: Type.Optional(
      natsUser(
        'provision',
        'Makes the streams. Only `init` needs it; leave it out of a running service’s configuration.',
      ),
    ),
    auditor: Type.Optional(
      natsUser('auditor', 'Reads the ledger; only `ledger verify`, `export` and `archive` need it.'),
    ),
    tls: Type.Optional(
      Fields(
        {
          ca_file: Type.Optional(
            File('PEM of the authority that signed the servers’ certificates; else the system’s.'),
          ),
          cert_file: Type.Optional(File('PEM of this client’s certificate.')),
          key_file: Type.Optional(File('PEM of its private key; goes with `cert_file`.')),
        },
        { description: 'Connect by TLS. `{}` uses the system’s authorities.' },
      ),
    ),
    allow_plaintext: Switch(
      'Allow servers outside loopback without TLS, on a network that only they and this service share.',
    ),
    monitor_url: Type.Optional(
      Url('^https?://[^\\s/]+$', 'Monitoring port of the server, where `sync_interval: always` is read back at boot.'),
    ),
    assume_sync_always: Switch(
      'Start although nothing tells whether the server syncs every write. If it does not, a power cut loses records.',
    ),
    replicas: Type.Integer({
      minimum: 1,
      maximum: 5,
      default: 1,
      description: 'Replicas of the ledger’s stream: 1 on one machine, 3 in a cluster.',
    }),
  },
  { description: 'Where commands come in and where the ledger is kept.' },
)

const Http = Fields(
  {
    host: Host('Address to listen on. Anything but loopback needs `tls`.'),
    port: Port('Port of the REST gateway.', { default: 8080 }),
    tls: Type.Optional(
      Fields(
        {
          cert_file: File('PEM of the certificate chain.'),
          key_file: File('PEM of its private key.'),
          client_ca_file: Type.Optional(File('PEM of the authority whose client certificates are accepted.')),
        },
        { description: 'Serve by TLS.' },
      ),
    ),
    allow_plaintext: Switch(
      'Listen outside loopback without TLS, behind something that ends it. Tokens cross that stretch.',
    ),
    admin: Type.Optional(
      Fields(
        { host: Host('Address of the admin listener.'), port: Port('Port of the admin listener.') },
        {
          description:
            '`/healthz`, `/readyz`, `/metrics` and `/openapi.json` on a listener of their own, and only there.',
        },
      ),
    ),
  },
  { description: 'The REST gateway.', default: {} },
)

const Hsm = Fields(
  {
    placement: OneOf(
      ['process', 'inline'],
      '`process`: child processes load the PKCS#11 library, so a hang or crash of it ends a child. `inline`: in the service.',
      'process',
    ),
    processes: Type.Integer({
      minimum: 1,
      maximum: LIMITS.hsmProcessesMax,
      default: 1,
      description: 'Child processes for each backend, with placement `process`.',
    }),
    backends: Type.Array(
      Fields({
        id: Type.String({ ...BackendId, description: 'Name of the backend; stays in the ledger for ever.' }),
        lib_path: File('The PKCS#11 library.'),
        token_label: Type.String({ minLength: 1, maxLength: 32, description: 'Label of the token.' }),
        pin_file: File('A regular file with the user PIN and at most one line end; read at each login.'),
      }),
      { minItems: 1, maxItems: LIMITS.hsmBackendsMax, description: 'The tokens; their ids differ.' },
    ),
    pin_dir: Type.Optional(
      File('Directory with one file a PIN; a request that opens an HSM connection names a file in it, never a path.'),
    ),
    allowed_libraries: Type.Array(Type.String({ minLength: 1, maxLength: LIMITS.configPathCharsMax }), {
      maxItems: LIMITS.hsmBackendsMax,
      default: [],
      description:
        'The libraries that an HSM connection may load, by absolute path; none if empty. Whoever may write to one of these files, or to pin_dir, controls the service.',
    }),
    ledger_backend: Type.String({ ...BackendId, description: 'Id of the backend that holds `ledger-root`.' }),
  },
  { description: 'Where key material lives.' },
)

const BootstrapToken = Fields(
  {
    kind: Type.Literal('bootstrap_token'),
    token_file: File(`Holds a token of at least ${LIMITS.bootstrapTokenBytesMin} bytes; hashed at once.`),
    expires_at: Type.String({ format: 'date-time', description: 'RFC 3339; from then on the token is refused.' }),
  },
  {
    description:
      'One token for the principal `bootstrap` with the role `administrator`, until a real provider is there.',
  },
)

/** The signature algorithms that `jwt` may accept: asymmetric only. */
export const JWT_ALGORITHM_NAMES = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

const Jwt = Fields(
  {
    kind: Type.Literal('jwt'),
    issuer: Url('^https?://\\S+$', 'Must equal the claim `iss` exactly.'),
    audience: Name('Must be among the claim `aud`.'),
    jwks_url: Url('^https?://\\S+$', 'Where the issuer’s keys are: https, or http on loopback.'),
    algorithms: Type.Array(OneOf(JWT_ALGORITHM_NAMES), {
      minItems: 1,
      maxItems: JWT_ALGORITHM_NAMES.length,
      default: ['EdDSA', 'ES256', 'RS256'],
      description: 'Accepted signature algorithms.',
    }),
    claims: Type.Record(
      Type.String({ pattern: '^[A-Za-z][A-Za-z0-9_]{0,63}$' }),
      Type.String({ minLength: 1, maxLength: LIMITS.configNameCharsMax }),
      {
        maxProperties: LIMITS.configClaimsMax,
        default: {},
        description: 'What policies see of a token: attribute → name of the claim. Nothing else of it is passed on.',
      },
    ),
    principal_type: Name('Type of the principal in policies.', { default: 'User' }),
  },
  { description: 'Signed tokens of one identity provider.' },
)

/**
 * The configuration of the service, and of the CLI beside it: one JSON file, named by `KMS_CONFIG`. Unknown members are
 * refused. Secrets are never members, only the names of files that hold them.
 */
export const ConfigSchema = Fields({
  data_dir: File('Directory of what is this machine’s own: origin, head file, root key. Made if missing.'),
  nats: Nats,
  ledger: Ledger,
  http: Http,
  hsm: Hsm,
  authn: Fields(
    {
      chain: Type.Array(Type.Union([BootstrapToken, Jwt]), {
        minItems: 1,
        maxItems: LIMITS.authenticatorsMax,
        description: 'Authenticators in order; the first that recognizes the kind of the credential decides.',
      }),
    },
    { description: 'Who is asking. There is no setting that lets everyone in.' },
  ),
  pdp: Fields(
    {
      cedar: Fields({
        policy_dir: File('Folder with `*.cedar` policies and one `*.cedarschema`; watched for changes.'),
        send_context_sha256: Type.Boolean({
          default: true,
          description: 'Whether policies see the SHA-256 of the encryption context.',
        }),
      }),
    },
    { description: 'What they may do.' },
  ),
  limits: Fields(
    {
      gcm_messages_per_version_max: Type.Integer({
        minimum: 2,
        maximum: LIMITS.gcmMessagesPerVersionMax,
        default: LIMITS.gcmMessagesPerVersionMax,
        description:
          'Messages that one version of an AES key may encrypt before it is KEY_EXHAUSTED; a warning is recorded at half of it. It can only be lowered: random nonces are not safe beyond.',
      }),
    },
    { description: 'Bounds that may be tightened.', default: {} },
  ),
  log: Fields(
    { level: OneOf(['debug', 'info', 'warn', 'error'], 'Least level that is written.', 'info') },
    { description: 'One JSON line an event on stdout.', default: {} },
  ),
})

/** A configuration with every default filled in. */
export type Config = Static<typeof ConfigSchema>

/** The schema of each kind of authenticator, so that a mistake in one is explained by its own rules. */
export const AUTHENTICATOR_SCHEMAS = { bootstrap_token: BootstrapToken, jwt: Jwt } as const
