#pragma once

#include <string>

// Keys for the tests, made by openssl 3.0 and used nowhere else. Their PEM texts are in raw strings, as a file has them.
namespace test_keys {

/// PKCS #8, as Google's files have it.
const std::string rsa = R"(-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDhihRjPlWWbqyz
sLC1QDvqqV/1awcI/7P0nF0LjfHI59G3v4kI8cKhdesv8scPHDDedV98V4ZR+p5x
cyLt0Sc1w2YHRjS1Qjcpt/d2PAENgjtItujHri1UMlmHWnGC1BnVmDV7v0FUtrgB
jCHUbB/Hd0dolBG/LJ7B/eyXB5nHhyfU1uHCs0kggiWAiZZStKGj02M/93A2UPOm
XYQADpWeszc21nojYKvPEz5+e3rESDbi/5WUJbBHU/NMN+DziShr2zF8JZRRhB/k
kQl0vBgyBpzt3aBslLJboXSz05Ix5MkgmbwVniicMJRaOtSxLgBIM2viIiBDWo9w
PrJ1T/XnAgMBAAECggEAFJ6CiaYvve6FVHIxXYivUZ9FehLcVErIQXMwIHfMJIFp
D2Lv3MT5dbhplXsdDrkVkKjrX1tDGOiQJrAPf+1wp74i7ERTWkTg9Svv8DvBHuKK
l/W851B5rWpi+/hdS0gnynq9XQBZsSx5Ow78Isb1ys8RVLLAwpkKNJMJ167mtLJv
D4UjsXFzbpyTgWA4/X8jEy6ISigdaExoBSWUgmqXkDIXAGVZ2aC+TdMcgmANqkwu
LQZ8yWqUhlt5ye9omTM7NQMM2ECRbEQX+H2rrfh7hJY6etOToZNQ2+fgAedxBRsg
W6Y1Fx4gKrqVIBX20fa1mNd40IwBXLTrbyG1Ur0PMQKBgQD5EqLK3ZqS3gZfnkMl
pDNr6XT7Mk7qmaHtnKGr3r8Ko2sXelylgyfACU9uAhNdRHkfHYpDOTyUDDHUcmKV
yltStN5EBasOE8dmj6yM9SXITwI28rM6DZrCnG9nP1pMK9Gklh9h3N908bS39odm
EkEMo/DQ3BxzmD0v/apk9lWRcQKBgQDnz+OVEJYvicYBqUnoIzVopSvndTC7xcCi
i6Q7FiIad/QBznLw5Aw7MxCPPfrGTKZVDgCI8XcuQ7ivVjQgC2JUQyo5e6GG3iff
p3/guviVyRe1TUN2ERY+/xALoIyL91PgQEeEqEDxiojbL5ddRtIjR8C6xN7yOB+y
CXxVrjfQ1wKBgGfvkuc82kf3RomYLUUD5EFfxmUcdToIqj3RYtWpuebiksnVUdvv
gyLrv62USChfbnvBg/TRaaoN/K0+nk0LiFhXCXkxNFRHhKoTwll/4yhXcAEl/gx3
qOEVDpfzI+ctUepwit/3n3fZdSRfR9kcPPDdaJx/fY/vM3lXTUecU9DBAoGAPVSA
FsEjqwIdc/URC6y9BamlewBDW3qPY7HkSompji0sTooLWPZM0iDJgcxZG7vNyfUB
aTnRWVkrdKAu/EdmxXpbooe2DZObIw4SxCdTe3WPozUE4yjUJOigmyLn7GQMOeln
wo4tWHpZiPwHZPNGx3TFZeSOQ7FbmWPvFFAajlMCgYEA0P59K0Q3q12Rj1t6BnoO
3f3wWG+r6v47Hx7alcB6KUT3F80lLYAyiH47j8k+kapV4CU2QHSZbiur0c20j+eV
CMxOyRQDIS1VDUZzT92a91GBHeedyd/Qzn9BuOF6yi6jOumROq9jTceDAXizHgHa
2hFr/dhNbNg9HCeqdBdfiXo=
-----END PRIVATE KEY-----
)";

/// The same key as PKCS #1.
const std::string rsa_pkcs1 = R"(-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEA4YoUYz5Vlm6ss7CwtUA76qlf9WsHCP+z9JxdC43xyOfRt7+J
CPHCoXXrL/LHDxww3nVffFeGUfqecXMi7dEnNcNmB0Y0tUI3Kbf3djwBDYI7SLbo
x64tVDJZh1pxgtQZ1Zg1e79BVLa4AYwh1Gwfx3dHaJQRvyyewf3slweZx4cn1Nbh
wrNJIIIlgImWUrSho9NjP/dwNlDzpl2EAA6VnrM3NtZ6I2CrzxM+fnt6xEg24v+V
lCWwR1PzTDfg84koa9sxfCWUUYQf5JEJdLwYMgac7d2gbJSyW6F0s9OSMeTJIJm8
FZ4onDCUWjrUsS4ASDNr4iIgQ1qPcD6ydU/15wIDAQABAoIBABSegommL73uhVRy
MV2Ir1GfRXoS3FRKyEFzMCB3zCSBaQ9i79zE+XW4aZV7HQ65FZCo619bQxjokCaw
D3/tcKe+IuxEU1pE4PUr7/A7wR7iipf1vOdQea1qYvv4XUtIJ8p6vV0AWbEseTsO
/CLG9crPEVSywMKZCjSTCdeu5rSybw+FI7Fxc26ck4FgOP1/IxMuiEooHWhMaAUl
lIJql5AyFwBlWdmgvk3THIJgDapMLi0GfMlqlIZbecnvaJkzOzUDDNhAkWxEF/h9
q634e4SWOnrTk6GTUNvn4AHncQUbIFumNRceICq6lSAV9tH2tZjXeNCMAVy0628h
tVK9DzECgYEA+RKiyt2akt4GX55DJaQza+l0+zJO6pmh7Zyhq96/CqNrF3pcpYMn
wAlPbgITXUR5Hx2KQzk8lAwx1HJilcpbUrTeRAWrDhPHZo+sjPUlyE8CNvKzOg2a
wpxvZz9aTCvRpJYfYdzfdPG0t/aHZhJBDKPw0Nwcc5g9L/2qZPZVkXECgYEA58/j
lRCWL4nGAalJ6CM1aKUr53Uwu8XAooukOxYiGnf0Ac5y8OQMOzMQjz36xkymVQ4A
iPF3LkO4r1Y0IAtiVEMqOXuhht4n36d/4Lr4lckXtU1DdhEWPv8QC6CMi/dT4EBH
hKhA8YqI2y+XXUbSI0fAusTe8jgfsgl8Va430NcCgYBn75LnPNpH90aJmC1FA+RB
X8ZlHHU6CKo90WLVqbnm4pLJ1VHb74Mi67+tlEgoX257wYP00WmqDfytPp5NC4hY
Vwl5MTRUR4SqE8JZf+MoV3ABJf4Md6jhFQ6X8yPnLVHqcIrf95932XUkX0fZHDzw
3Wicf32P7zN5V01HnFPQwQKBgD1UgBbBI6sCHXP1EQusvQWppXsAQ1t6j2Ox5EqJ
qY4tLE6KC1j2TNIgyYHMWRu7zcn1AWk50VlZK3SgLvxHZsV6W6KHtg2TmyMOEsQn
U3t1j6M1BOMo1CTooJsi5+xkDDnpZ8KOLVh6WYj8B2TzRsd0xWXkjkOxW5lj7xRQ
Go5TAoGBAND+fStEN6tdkY9begZ6Dt398Fhvq+r+Ox8e2pXAeilE9xfNJS2AMoh+
O4/JPpGqVeAlNkB0mW4rq9HNtI/nlQjMTskUAyEtVQ1Gc0/dmvdRgR3nncnf0M5/
QbjhesouozrpkTqvY03HgwF4sx4B2toRa/3YTWzYPRwnqnQXX4l6
-----END RSA PRIVATE KEY-----
)";

/// What openssl dgst -sha256 -sign makes of "header.claims" with it, in Base64 for URLs.
const std::string signature_of_header_claims =
    "AGChM4lOsERxU70Zr0npxR8GnSgFXpyu_3afZI_HfKTrEZMmuUgAuZwbYpiQWQFWxSZABPOAcHj6ONObCsm4Zp_SgqnS3PBkMj7l"
    "8P7MRwI6tgbRX_Q4GuIm7aIBpEZdRNP8NKPFJKW0E5OM7uLkuNQc_liWW_aLc3fedy5NUYDxYR-78UB1fRje9M_IzIeZgVTJrNJB"
    "0Ki-EiWXKvMCfRQQ8cMx6ag9TpvZJSoHLD-wiGGyAkxZmHYqZxZ0ugmFuzTyKZvMuGpIsAoL3NkVKvtxYriUD8y7_SIitkWAbQry"
    "YpIMvORht3Ms8QV53flFtxsAztLYhd5PA_Dj6DGzQg";

const std::string elliptic_curve = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgA6egpulLmqhedvjH
vzI3egYNuSIies5/mQ/a3CzIVJChRANCAAQcUZth4kgthrmrbP1sGiR3CCst8HvU
B8ZhgJYnGqfjFpRSR1moTXMkINwp0vLdo+ldMMZfZJdzxoMSWwmuvhY+
-----END PRIVATE KEY-----
)";

/// The beginnings of encrypted keys: no more of them is read.
const std::string encrypted_pkcs8 =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFJDBWBgkq\n-----END ENCRYPTED PRIVATE KEY-----\n";
const std::string encrypted_pkcs1 =
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIE\n-----END RSA PRIVATE "
    "KEY-----\n";

}  // namespace test_keys
