"""The errors that a user can mend. Each message names the file or key, what was found and what to do."""


class TesseraError(Exception):
    """Something that the user can mend; shown as one line, never as a traceback."""


class StudyError(TesseraError, ValueError):
    """A configuration, study, scale or method file that does not say something sensible."""


class DataError(TesseraError):
    """Images, labels or archives that are missing, damaged or unfit."""


class ArtifactError(TesseraError):
    """An artifact that is missing, incomplete or damaged."""


class DivergedError(TesseraError):
    """Weights or figures that are not finite, found by who does not know what they were trained with.

    Whoever knows it adds what to do.
    """
