"""What the spectra of random matrices look like: references to hold a measured spectrum against."""

from thalweg.curvature.random_matrix.fitting import bulk_outliers, distance, fitted
from thalweg.curvature.random_matrix.law import Law
from thalweg.curvature.random_matrix.marchenko_pastur import MarchenkoPastur, marchenko_pastur
from thalweg.curvature.random_matrix.positivity import probability_all_positive
from thalweg.curvature.random_matrix.references import references
from thalweg.curvature.random_matrix.semicircle import Semicircle, semicircle

__all__ = [
    "Law",
    "MarchenkoPastur",
    "Semicircle",
    "bulk_outliers",
    "distance",
    "fitted",
    "marchenko_pastur",
    "probability_all_positive",
    "references",
    "semicircle",
]
