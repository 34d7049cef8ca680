#include "sha256.h"

enum { BLOCK = 64, LENGTH_AT = 56, READ_BYTES = 64 * 1024 };

/* Cube roots of the first 64 primes, fractional parts. Source: FIPS 180-4, 4.2.2. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void expand(uint32_t w[64], const unsigned char *block) {
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
           (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    uint32_t s0 = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3;
    uint32_t s1 = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
}

/* One block into the state; v[0..7] are a..h of the standard. Source: FIPS 180-4, 6.2.2. */
static void compress(uint32_t state[8], const unsigned char *block) {
  uint32_t w[64], v[8];
  expand(w, block);
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    uint32_t t1 = v[7] + s1 + choice + K[i] + w[i];
    uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + s0 + majority;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

/* The bytes after the last whole block, then the padding with the length in bits. */
static void close_digest(uint32_t state[8], const unsigned char *tail, size_t left,
                         uint64_t bytes) {
  unsigned char last[2 * BLOCK] = {0};
  size_t end = left < LENGTH_AT ? BLOCK : 2 * BLOCK;
  memcpy(last, tail, left);
  last[left] = 0x80;
  for (int i = 0; i < 8; i++) last[end - 1 - (size_t)i] = (unsigned char)(bytes * 8 >> (8 * i));
  compress(state, last);
  if (end > BLOCK) compress(state, last + BLOCK);
}

static bool digest(FILE *file, uint32_t state[8], uint64_t *bytes) {
  static unsigned char part[READ_BYTES];
  size_t got, at;
  *bytes = 0;
  do {
    /* fread fills the part unless the file ends, so only the last can hold a broken block. */
    got = fread(part, 1, sizeof part, file);
    *bytes += got;
    for (at = 0; at + BLOCK <= got; at += BLOCK) compress(state, part + at);
  } while (got == sizeof part);
  close_digest(state, part + at, got - at, *bytes);
  return !ferror(file);
}

bool sha256_file(const char *path, char hex[SHA256_HEX], uint64_t *bytes) {
  /* Square roots of the first 8 primes, fractional parts. Source: FIPS 180-4, 5.3.3. */
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  bool whole = digest(file, state, bytes);
  fclose(file);
  for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", state[i]);
  return whole;
}
