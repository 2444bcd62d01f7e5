import Type from 'typebox'
import { File, Name, Url } from './configFields.ts'
import { LIMITS } from './limits.ts'
import { Fields } from './primitives.ts'

const CheckpointStream = Fields(
  {
    servers: Type.Optional(
      Type.Array(Type.String({ pattern: '^(nats|tls)://[^\\s/]+$', maxLength: LIMITS.configPathCharsMax }), {
        minItems: 1,
        maxItems: LIMITS.natsServersMax,
        description: 'The servers that keep the stream, if not `nats.servers`; then `password_file` is a must.',
      }),
    ),
    user: Name('The user that publishes checkpoints and reads them back.', { default: 'kms-ledger' }),
    password_file: Type.Optional(File('Its password, on servers of its own.')),
    tls: Type.Optional(
      Fields(
        {
          ca_file: Type.Optional(File('PEM of the authority that signed the servers’ certificates.')),
          cert_file: Type.Optional(File('PEM of this client’s certificate.')),
          key_file: Type.Optional(File('PEM of its private key; goes with `cert_file`.')),
        },
        { description: 'Connect to these servers by TLS.' },
      ),
    ),
  },
  {
    description:
      'Keeps every checkpoint in the stream `KMS_CHECKPOINTS`. `{}` is on `nats.servers`; in an account or on a server of its own it holds against whoever controls those.',
  },
)

/** Checkpoints: how often, and who remembers them; snapshots. */
export const Ledger = Fields(
  {
    checkpoint_interval_ms: Type.Integer({
      minimum: LIMITS.checkpointIntervalMs,
      maximum: LIMITS.checkpointIntervalMsMax,
      default: LIMITS.checkpointIntervalMs,
      description:
        'While there is something new, a checkpoint is signed this long after it, and no sooner after the last.',
    }),
    witness_interval_ms: Type.Integer({
      minimum: LIMITS.checkpointIntervalMs,
      maximum: LIMITS.checkpointIntervalMsMax,
      default: LIMITS.witnessIntervalMs,
      description: 'Witnesses are asked no more often than this.',
    }),
    snapshot_interval_ms: Type.Integer({
      minimum: LIMITS.snapshotIntervalMsMin,
      maximum: LIMITS.snapshotIntervalMsMax,
      default: LIMITS.snapshotIntervalMs,
      description: `The writer keeps a snapshot of all it knows of keys this often, after at least ${LIMITS.snapshotCommitsMin} new commits, so that a start reads only what came after it.`,
    }),
    anchors: Fields(
      {
        required: Type.Integer({
          minimum: 1,
          maximum: LIMITS.witnessesMax + 2,
          default: 1,
          description:
            'How many anchors must have a checkpoint before it counts as anchored, and must be able to say at start what they remember. The files in `data_dir` are one.',
        }),
        required_witnesses: Type.Integer({
          minimum: 0,
          maximum: LIMITS.witnessesMax,
          default: 0,
          description: 'How many of the witnesses must have cosigned a checkpoint before it counts as anchored.',
        }),
        stream: Type.Optional(CheckpointStream),
        witnesses: Type.Array(
          Fields({
            url: Url(
              '^https?://\\S+$',
              'Its submission prefix, without `/add-checkpoint`: https, or http on loopback.',
            ),
            key: Name(
              'Its verifier key in one line, as it publishes it: `<name>+<8 hex digits>+<base64>`, of type 04.',
            ),
          }),
          {
            maxItems: LIMITS.witnessesMax,
            default: [],
            description: 'Witnesses (C2SP tlog-witness) that cosign checkpoints.',
          },
        ),
      },
      { description: 'Who remembers checkpoints, so that nobody can cut the ledger unseen.', default: {} },
    ),
  },
  { description: 'Checkpoints and snapshots of the ledger.', default: {} },
)
