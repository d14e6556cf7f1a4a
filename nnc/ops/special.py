"""erf and its inverse for NumPy, which has neither.

Each function depends on NumPy alone: the NumPy backend copies their source into the files that it
prints.  All compute in float64 and round once to the type of `x`.
"""

import numpy as np


def erf(x: np.ndarray) -> np.ndarray:
    """The error function.

    In float64 the rational Chebyshev approximations of W. J. Cody, Math. Comp. 23 (1969) 631-637,
    with the coefficients of his CALERF (netlib, specfun).
    """
    x = np.asarray(x)
    if x.dtype != np.float64:
        return short_erf(x)
    v = x.reshape(-1)
    y = np.minimum(np.abs(v), 6.0)  # where erf is 1 to the last bit
    result = np.empty_like(y)

    near = y <= 0.46875
    s = y[near] ** 2
    p, q = 1.85777706184603153e-1 * s, s
    for a, b in (
        (3.16112374387056560e00, 2.36012909523441209e01),
        (1.13864154151050156e02, 2.44024637934444173e02),
        (3.77485237685302021e02, 1.28261652607737228e03),
    ):
        p, q = (p + a) * s, (q + b) * s
    result[near] = v[near] * (p + 3.20937758913846947e03) / (q + 2.84423683343917062e03)

    # CALERF's third interval, from 4 on, serves erfc: there erf's own last bit is fixed without.
    far = ~near
    t = y[far]
    p, q = 2.15311535474403846e-8 * t, t
    for a, b in (
        (5.64188496988670089e-1, 1.57449261107098347e01),
        (8.88314979438837594e00, 1.17693950891312499e02),
        (6.61191906371416295e01, 5.37181101862009858e02),
        (2.98635138197400131e02, 1.62138957456669019e03),
        (8.81952221241769090e02, 3.29079923573345963e03),
        (1.71204761263407058e03, 4.36261909014324716e03),
        (2.05107837782607147e03, 3.43936767414372164e03),
    ):
        p, q = (p + a) * t, (q + b) * t
    tail = np.exp(-t * t) * (p + 1.23033935479799725e03) / (q + 1.23033935480374942e03)
    result[far] = np.copysign(1.0 - tail, v[far])
    return result.reshape(x.shape)


def short_erf(x: np.ndarray) -> np.ndarray:
    """erf of float32 or narrower floats, to one unit in the last place.

    x P(x^2) / Q(x^2) with the coefficients of XLA's ErfF32; beyond 4 it is 1.  In pieces, so that
    what is between stays in the cache.
    """
    flat = x.reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, 8192):
        v = flat[start : start + 8192].astype(np.float64)
        np.clip(v, -4.0, 4.0, out=v)
        s = v * v
        p = 2.2905065861350646e-4 * s
        for a in (3.4082910107109506e-3, 5.0955695062380861e-2, 1.8520832239976145e-1):
            p += a
            p *= s
        q = -1.1791602954361697e-7 * s
        for b in (
            2.3547966471313185e-5,
            1.0179625278914885e-3,
            1.4070470171167667e-2,
            1.1098505178285362e-1,
            4.9746925110067538e-1,
        ):
            q += b
            q *= s
        p += 1.128379143519084
        q += 1.0
        p *= v
        p /= q
        result[start : start + 8192] = np.clip(p, -1.0, 1.0, out=p)
    return result.reshape(x.shape)


def erfinv(x: np.ndarray) -> np.ndarray:
    """The inverse of erf: infinite at -1 and 1, nan beyond.

    The normal quantile of M. J. Wichura, algorithm AS 241 (PPND16), Applied Statistics 37 (1988)
    477-484, at probability (1 + x) / 2, divided by the root of 2.
    """
    x = np.asarray(x)
    v = x.astype(np.float64).reshape(-1)
    size = np.abs(v)
    near = size <= 0.85
    half = 0.5 * v
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.sqrt(-np.log(0.5 - np.abs(half)))
    parts = (
        (
            near,
            0.180625 - half * half,
            (
                (2.5090809287301226727e3, 5.2264952788528545610e3),
                (3.3430575583588128105e4, 2.8729085735721942674e4),
                (6.7265770927008700853e4, 3.9307895800092710610e4),
                (4.5921953931549871457e4, 2.1213794301586595867e4),
                (1.3731693765509461125e4, 5.3941960214247511077e3),
                (1.9715909503065514427e3, 6.8718700749205790830e2),
                (1.3314166789178437745e2, 4.2313330701600911252e1),
                (3.3871328727963666080e0, 1.0),
            ),
        ),
        (
            ~near & (r <= 5.0),
            r - 1.6,
            (
                (7.74545014278341407640e-4, 1.05075007164441684324e-9),
                (2.27238449892691845833e-2, 5.47593808499534494600e-4),
                (2.41780725177450611770e-1, 1.51986665636164571966e-2),
                (1.27045825245236838258e0, 1.48103976427480074590e-1),
                (3.64784832476320460504e0, 6.89767334985100004550e-1),
                (5.76949722146069140550e0, 1.67638483018380384940e0),
                (4.63033784615654529590e0, 2.05319162663775882187e0),
                (1.42343711074968357734e0, 1.0),
            ),
        ),
        (
            np.isfinite(r) & (r > 5.0),
            r - 5.0,
            (
                (2.01033439929228813265e-7, 2.04426310338993978564e-15),
                (2.71155556874348757815e-5, 1.42151175831644588870e-7),
                (1.24266094738807843860e-3, 1.84631831751005468180e-5),
                (2.65321895265761230930e-2, 7.86869131145613259100e-4),
                (2.96560571828504891230e-1, 1.48753612908506148525e-2),
                (1.78482653991729133580e0, 1.36929880922735805310e-1),
                (5.46378491116411436990e0, 5.99832206555887937690e-1),
                (6.65790464350110377720e0, 1.0),
            ),
        ),
    )
    quantile = np.where(size > 1.0, np.nan, r)  # which keeps nan, and infinity at 1
    for where, argument, coefficients in parts:
        t = argument[where]
        p, q = np.zeros_like(t), np.zeros_like(t)
        for a, b in coefficients:
            p, q = p * t + a, q * t + b
        quantile[where] = p / q
    result = np.where(near, half, np.copysign(1.0, v)) * quantile / np.sqrt(2.0)
    return result.reshape(x.shape).astype(x.dtype)
