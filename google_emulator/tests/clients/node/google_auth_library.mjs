// Asks for a token with google-auth-library's default credentials, and prints it as JSON.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.NODE_MODULES_PARENT, 'package.json'));
const { GoogleAuth } = require('google-auth-library');

const auth = new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/sqlservice.login'] });
const client = await auth.getClient();
const { token } = await client.getAccessToken();
const project = await auth.getProjectId();
const expires_in = (client.credentials.expiry_date - Date.now()) / 1000;
console.log(JSON.stringify({ project, token, expires_in }));
