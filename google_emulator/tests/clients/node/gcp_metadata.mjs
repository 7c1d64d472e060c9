// Asks for a token with gcp-metadata, and prints it as JSON.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.NODE_MODULES_PARENT, 'package.json'));
const metadata = require('gcp-metadata');

const available = await metadata.isAvailable();
const project = await metadata.project('project-id');
const token = await metadata.instance('service-accounts/default/token');
console.log(JSON.stringify({ available, project, token: token.access_token, expires_in: token.expires_in }));
