"""ROS 2: messages, what is made of them, and the node. Only `rtseg.ros.node` imports rclpy."""
