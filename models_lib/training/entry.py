"""What SageMaker runs in its container, as `train.py` at the top of the source archive, beside the folder models_lib.

The file deployments/sagemaker/train.py and the module models_lib.training.entry are the same, so that it is there in a
checkout and in an installed package alike. It catches nothing: main does, and writes the reason where AWS finds it.
"""

import os
import sys

from models_lib.training.container import main

if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
